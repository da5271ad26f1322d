package passes

import (
	"context"
	"fmt"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// Fold computes nodes all of whose inputs are constants. It leaves alone what
// would make the file larger (Expand, dequantized weights), what is random and
// what the runtime does not know.
var Fold = Pass{"constant folding", func(ctx context.Context, m *onnx.Model) (int, error) {
	if err := onnx.Infer(m); err != nil {
		return 0, err
	}
	changes := 0
	err := eachGraph(m.Graph, func(g *onnx.Graph) error {
		for _, n := range slices.Clone(g.Nodes) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !foldable(g, n) {
				continue
			}
			values, err := evaluate(ctx, m, n)
			if err != nil {
				continue // left for the runtime that will run it
			}
			if !smallEnough(n, values) {
				continue
			}
			for _, v := range n.Outputs {
				if v != nil && len(v.Uses()) > 0 {
					replaceByConstant(v, values[v.Name])
				}
			}
			changes++
		}
		return nil
	})
	return changes, err
}}

// maxGrowth is how many bytes a folded node may add to the file.
const maxGrowth = 1 << 12

func foldable(g *onnx.Graph, n *onnx.Node) bool {
	if n.Domain != "" && n.Domain != "ai.onnx" || len(n.Subgraphs()) > 0 || len(n.Inputs) == 0 {
		return false
	}
	if n.Is("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout",
		"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear") {
		return false
	}
	for _, v := range n.Inputs {
		if v != nil && v.Const == nil {
			return false
		}
	}
	size, used := int64(0), false
	for _, v := range n.Outputs {
		if v == nil {
			continue
		}
		if v.IsOutput() || listedInside(g, v) {
			return false
		}
		used = used || len(v.Uses()) > 0
		// Known before anything is computed, so that no hostile Expand is.
		dims, ok := v.Type.Shape.Ints()
		count, err := onnx.Elements(dims)
		if !ok || err != nil {
			return false
		}
		size += v.Type.Elem.Bytes(count)
	}
	return used && size <= inputBytes(n)+maxGrowth
}

func inputBytes(n *onnx.Node) int64 {
	size := int64(0)
	for _, v := range n.Inputs {
		if v != nil {
			size += int64(len(v.Const.Data))
		}
	}
	return size
}

func smallEnough(n *onnx.Node, values map[string]*onnx.Tensor) bool {
	size := int64(0)
	for _, t := range values {
		size += int64(len(t.Data))
	}
	return size <= inputBytes(n)+maxGrowth
}

// evaluate runs one node on its constant inputs.
func evaluate(ctx context.Context, m *onnx.Model, n *onnx.Node) (map[string]*onnx.Tensor, error) {
	g := onnx.NewGraph("fold")
	inputs := make([]*onnx.Value, len(n.Inputs))
	for i, v := range n.Inputs {
		if v == nil {
			continue
		}
		if inputs[i] = g.Value(v.Name); inputs[i] == nil {
			inputs[i] = g.AddInitializer(v.Name, v.Const.Clone())
		}
	}
	names := make([]string, len(n.Outputs))
	for i, v := range n.Outputs {
		if v != nil {
			names[i] = v.Name
		}
	}
	c := g.NewNode(n.Op, inputs, names, n.Attrs...)
	g.Append(c)
	for i, v := range c.Outputs {
		if v != nil {
			v.Type = n.Outputs[i].Type
			g.AddOutput(v)
		}
	}
	program, err := runtime.Compile(onnx.NewModel(g, m.Opset("")), runtime.Options{Threads: 1, Strict: true})
	if err != nil {
		return nil, err
	}
	results, err := program.Run(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	values := map[string]*onnx.Tensor{}
	for _, name := range names {
		if name == "" {
			continue
		}
		if results[name] == nil {
			return nil, fmt.Errorf("no value for %q", name)
		}
		values[name] = results[name].ONNX()
	}
	return values, nil
}
