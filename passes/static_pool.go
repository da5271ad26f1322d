package passes

import (
	"context"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// poolMoments writes means and variances over height and width that exporters spell out, sums divided by a
// computed area and the mean of squared differences, as GlobalAveragePool of the values and of their
// squares: two passes over the feature maps, which runtimes do well, instead of six. Types must be inferred.
//
//	mean = Div (ReduceSum (ReduceSum (x)), area)
//	variance = Div (ReduceSum (ReduceSum (Pow (Sub (x, mean), 2))), area)
//
//	mean = GlobalAveragePool (x)
//	variance = Relu (Sub (GlobalAveragePool (Pow (x, 2)), Mul (mean, mean)))
func poolMoments(m *onnx.Model) error {
	g := m.Graph
	means := map[*onnx.Value]*onnx.Value{} // by what they are of
	for _, n := range slices.Clone(g.Nodes) {
		x := averaged(n)
		if x == nil || n.Outputs[0].IsOutput() {
			continue
		}
		old := n.Outputs[0]
		add := func(op, name string, inputs ...*onnx.Value) *onnx.Value {
			return insertBefore(n, op, old.Name+name, old.Type, inputs)
		}
		var y *onnx.Value
		if of, two := differences(x); of != nil && means[of] != nil && x.Producer.Inputs[0].Producer.Inputs[1] == means[of] {
			squares := insertBefore(n, "Pow", old.Name+"_squares", of.Type, []*onnx.Value{of, two})
			y = add("Sub", "_difference", add("GlobalAveragePool", "_power", squares), add("Mul", "_square", means[of], means[of]))
			y = add("Relu", "_variance", y) // rounding may leave less than nothing
		} else if y = means[x]; y == nil {
			y = old
			if !n.Is("GlobalAveragePool") {
				y = add("GlobalAveragePool", "_mean", x)
			}
			means[x] = y
		}
		if y != old {
			old.ReplaceUses(y)
			g.Remove(n)
		}
	}
	_, err := DeadCode.Run(context.Background(), m)
	return err
}

// averaged returns the feature maps whose mean over height and width a node gives; nil for others.
func averaged(n *onnx.Node) *onnx.Value {
	if n.Is("GlobalAveragePool") {
		return n.Inputs[0]
	}
	if !n.Is("Div") || !isPoint(n.Outputs[0]) {
		return nil
	}
	of := areaOf(n.Inputs[1])
	v, seen := n.Inputs[0], [4]bool{}
	for v.Producer != nil && v.Producer.Is("ReduceSum") && v.Producer.Int("keepdims", 1) == 1 {
		axes := constInts(v.Producer, "axes", 1)
		if len(axes) == 0 {
			return nil
		}
		for _, a := range axes {
			seen[(a+4)%4] = true
		}
		v = v.Producer.Inputs[0]
	}
	if seen != [4]bool{2: true, 3: true} || of == nil || len(v.Type.Shape) != 4 || !sameSize(of, v) {
		return nil
	}
	return v
}

// areaOf returns the feature maps whose height times width a value is; nil for others.
func areaOf(v *onnx.Value) *onnx.Value {
	if v.Producer != nil && v.Producer.Is("Cast") {
		v = v.Producer.Inputs[0]
	}
	if v.Producer == nil || !v.Producer.Is("Mul") {
		return nil
	}
	var of *onnx.Value
	seen := [4]bool{}
	for _, side := range v.Producer.Inputs {
		n := side.Producer
		if n == nil || !n.Is("Gather") || n.Inputs[0].Producer == nil || !n.Inputs[0].Producer.Is("Shape") {
			return nil
		}
		at, shape := constInts(n, "", 1), n.Inputs[0].Producer
		if len(at) != 1 || at[0] < 0 || at[0] > 3 || shape.Attr("start") != nil || shape.Attr("end") != nil || of != nil && of != shape.Inputs[0] {
			return nil
		}
		of, seen[at[0]] = shape.Inputs[0], true
	}
	if seen != [4]bool{2: true, 3: true} {
		return nil
	}
	return of
}

// differences returns the feature maps of which a value is the squared difference from something, and the exponent; nil for others.
func differences(v *onnx.Value) (of, two *onnx.Value) {
	pow := v.Producer
	if pow == nil || !pow.Is("Pow") || pow.Inputs[1].Const == nil || pow.Inputs[0].Producer == nil || !pow.Inputs[0].Producer.Is("Sub") {
		return nil, nil
	}
	if e, err := pow.Inputs[1].Const.Float32s(); err != nil || len(e) != 1 || e[0] != 2 {
		return nil, nil
	}
	return pow.Inputs[0].Producer.Inputs[0], pow.Inputs[1]
}

// sameSize reports whether two feature maps have the same height and width.
func sameSize(a, b *onnx.Value) bool {
	s, t := a.Type.Shape, b.Type.Shape
	return len(s) == 4 && len(t) == 4 && slices.Equal(s[2:], t[2:]) && !slices.Contains(s[2:], onnx.Unknown)
}
