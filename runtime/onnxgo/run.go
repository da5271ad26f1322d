package onnxgo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gorgonia.org/tensor"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// Run calculates the outputs of the model from the inputs that were set. The
// first call compiles the model, later ones do only after a constant was
// changed.
//
// The decoder does not say which values are outputs. Taken for outputs are
// those that no operator reads and those declared after the first of these;
// other values are nil after Run. An output that an operator reads too must be
// named in Keep where the file declares its other outputs after it.
func (b *Backend) Run() error { return b.RunContext(context.Background()) }

// RunContext is Run that can be cancelled.
func (b *Backend) RunContext(ctx context.Context) error {
	if b.program == nil {
		p, err := b.compile()
		if err != nil {
			return fmt.Errorf("onnxgo: %w", err)
		}
		b.program = p
	}
	p := b.program
	inputs := map[string]*runtime.Tensor{}
	for name, v := range p.inputs {
		if !v.set {
			return fmt.Errorf("onnxgo: input %q is not set", name)
		}
		t, err := fromTensor(v.tensor)
		if err != nil {
			return fmt.Errorf("onnxgo: input %q: %w", name, err)
		}
		inputs[name] = t
	}
	results, err := p.run.Run(ctx, inputs, nil)
	if err != nil {
		return fmt.Errorf("onnxgo: %w", err)
	}
	for name, v := range p.outputs {
		if v.tensor, err = toTensor(results[name]); err != nil {
			return fmt.Errorf("onnxgo: output %q: %w", name, err)
		}
	}
	return nil
}

func (b *Backend) compile() (*program, error) {
	r, err := b.rebuild()
	if err != nil {
		return nil, err
	}
	run, err := runtime.Compile(onnx.NewModel(r.graph, b.opset), runtime.Options{Threads: b.Threads})
	if err != nil {
		return nil, err
	}
	// What values have that no input set and no run calculated are placeholders.
	for _, v := range b.values {
		if v.producer != nil {
			v.tensor = nil
		}
	}
	return &program{run: run, inputs: r.inputs, outputs: r.outputs}, nil
}

// rebuild is the graph that the file held, made of what the decoder told the
// backend.
type rebuild struct {
	backend         *Backend
	graph           *onnx.Graph
	of              map[string]*onnx.Value // by name
	inputs, outputs map[string]*value
}

func (b *Backend) rebuild() (*rebuild, error) {
	if len(b.operations) == 0 {
		return nil, errors.New("no model was decoded")
	}
	r := &rebuild{
		backend: b, graph: onnx.NewGraph("onnx-go"), of: map[string]*onnx.Value{},
		inputs: map[string]*value{}, outputs: map[string]*value{},
	}
	if err := r.leaves(); err != nil {
		return nil, err
	}
	if err := r.nodes(); err != nil {
		return nil, err
	}
	return r, r.keep()
}

// leaves declares the values that no operator calculates. The decoder makes
// graph inputs first, then declared intermediate values, outputs, and at last
// the initializers that it does not know yet. A graph input has a placeholder;
// an initializer that is listed as one has a second tensor.
func (r *rebuild) leaves() error {
	values := r.backend.values
	first := slices.IndexFunc(values, func(v *value) bool { return v.producer != nil })
	isInput := func(v *value) bool { return v.id < int64(first) && v.declared < 2 }
	read := map[string]bool{}
	for _, op := range r.backend.operations {
		for _, v := range op.inputs {
			read[v.name] = v.name != ""
		}
	}
	for _, v := range values {
		if v.producer != nil || !read[v.name] || isInput(v) || v.tensor == nil {
			continue
		}
		t, err := fromTensor(v.tensor)
		if err != nil {
			return fmt.Errorf("initializer %q: %w", v.name, err)
		}
		r.of[v.name] = r.graph.AddInitializer(v.name, t.ONNX())
	}
	for _, v := range values[:first] {
		// A second value of a name is the input declared once more.
		if read[v.name] && isInput(v) && r.of[v.name] == nil {
			r.of[v.name] = r.graph.AddInput(v.name, placeholderType(v.tensor))
			r.inputs[v.name] = v
		}
	}
	return nil
}

// nodes makes the nodes, which may come in any order.
func (r *rebuild) nodes() error {
	for _, op := range r.backend.operations {
		names := make([]string, len(op.outputs))
		for i, v := range op.outputs {
			names[i] = v.name
		}
		n := r.graph.NewNode(op.name, nil, names)
		r.graph.Append(n)
		for i, v := range op.outputs {
			if v.name != "" {
				r.of[v.name] = n.Outputs[i]
			}
		}
	}
	for i, op := range r.backend.operations {
		n := r.graph.Nodes[i]
		for _, name := range slices.Sorted(maps.Keys(op.attributes)) {
			a, err := attribute(name, op.attributes[name])
			if err != nil {
				return fmt.Errorf("operator %s %q: %w", op.name, op.label(), err)
			}
			n.Attrs = append(n.Attrs, a)
		}
		if op.name == "Constant" { // has no input: the decoder made one up
			continue
		}
		for j, v := range op.inputs {
			if v.name != "" && r.of[v.name] == nil {
				return fmt.Errorf("operator %s %q: input %q is given by no operator, initializer or graph input", op.name, op.label(), v.name)
			}
			n.SetInput(j, r.of[v.name])
		}
	}
	return nil
}

// keep declares the values that a run gives back, see Run.
func (r *rebuild) keep() error {
	keep := func(v *value) {
		if r.outputs[v.name] == nil {
			r.outputs[v.name] = v
			r.graph.AddOutput(r.of[v.name])
		}
	}
	sink := false
	for _, v := range r.backend.values {
		if v.producer == nil || v.name == "" {
			continue
		}
		unread := len(r.of[v.name].Uses()) == 0
		sink = sink || unread && v.declared > 0
		if unread || sink && v.declared > 0 {
			keep(v)
		}
	}
	for _, name := range r.backend.Keep {
		i := slices.IndexFunc(r.backend.values, func(v *value) bool { return v.name == name && v.producer != nil })
		if i < 0 {
			return fmt.Errorf("no operator calculates %q, which is to be kept", name)
		}
		keep(r.backend.values[i])
	}
	return nil
}

// attribute brings a decoded attribute into the form of package onnx.
func attribute(name string, v any) (*onnx.Attribute, error) {
	switch v := v.(type) {
	case float32, int64, string, []float32, []int64:
		return onnx.Attr(name, v), nil
	case []string:
		list := make([][]byte, len(v))
		for i, s := range v {
			list[i] = []byte(s)
		}
		return onnx.Attr(name, list), nil
	case tensor.Tensor:
		t, err := fromTensor(v)
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", name, err)
		}
		return onnx.Attr(name, t.ONNX()), nil
	}
	return nil, fmt.Errorf("attribute %q has no type: save the model again with a current onnx", name)
}
