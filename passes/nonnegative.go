package passes

import (
	"slices"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
)

// NonNegative reports whether the graph proves that a value cannot be negative:
// a Relu made it, or operators that keep or give non-negative values did. DAQ
// places the window of such a tensor from zero on; it must follow from the graph
// and not from one image.
func NonNegative(v *onnx.Value) bool {
	return nonNegative(v, map[*onnx.Value]bool{})
}

// Distributions returns the distribution of a feature map [N,C,H,W] that follows
// from the graph: one, or, for a Concat of channels of both kinds, one for each
// channel.
func Distributions(v *onnx.Value) []quant.Distribution {
	n := v.Producer
	if NonNegative(v) {
		return []quant.Distribution{quant.PostReLU}
	}
	signed := []quant.Distribution{quant.Signed}
	if n == nil || !isChannelConcat(n) {
		return signed
	}
	var all []quant.Distribution
	for _, in := range n.Inputs {
		d, channels := Distributions(in), channelsOf(in)
		if channels < 0 {
			return signed
		}
		if len(d) == 1 {
			d = slices.Repeat(d, int(channels))
		}
		all = append(all, d...)
	}
	if !slices.Contains(all, quant.PostReLU) {
		return signed
	}
	return all
}

func nonNegative(v *onnx.Value, seen map[*onnx.Value]bool) bool {
	if v == nil || seen[v] {
		return false
	}
	if v.Const != nil {
		return nonNegativeTensor(v.Const)
	}
	n := v.Producer
	if n == nil {
		return false
	}
	seen[v] = true
	defer delete(seen, v)
	switch {
	case n.Is("Relu", "Sigmoid", "Abs", "Exp", "Sqrt", "Softmax", "HardSigmoid", "ThresholdedRelu", "Softplus"):
		return true
	case n.Is("Clip"):
		return clipFloor(n) >= 0 || nonNegative(n.Inputs[0], seen)
	case n.Is("Max"):
		return anyInput(n, seen)
	case n.Is("Add", "Sum", "Mul", "Div", "Min", "Mean", "Concat", "Where"):
		first := 0
		if n.Op == "Where" {
			first = 1
		}
		return allInputs(n, first, seen)
	case n.Is("Resize", "Upsample"):
		// Cubic interpolation overshoots.
		return n.Str("mode", "nearest") != "cubic" && nonNegative(n.Inputs[0], seen)
	case n.Is("Pad"):
		return (n.Str("mode", "constant") != "constant" || n.Input(2) == nil && n.Float("value", 0) >= 0 ||
			nonNegative(n.Input(2), seen)) && nonNegative(n.Inputs[0], seen)
	case n.Is("Identity", "Reshape", "Transpose", "Slice", "Split", "Squeeze", "Unsqueeze", "Flatten", "Gather",
		"Expand", "Tile", "DepthToSpace", "SpaceToDepth", "MaxPool", "AveragePool", "GlobalAveragePool",
		"GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceSum", "Dropout", "Cast"):
		return nonNegative(n.Inputs[0], seen)
	}
	return false
}

func anyInput(n *onnx.Node, seen map[*onnx.Value]bool) bool {
	for _, in := range n.Inputs {
		if nonNegative(in, seen) {
			return true
		}
	}
	return false
}

func allInputs(n *onnx.Node, first int, seen map[*onnx.Value]bool) bool {
	for _, in := range n.Inputs[first:] {
		if !nonNegative(in, seen) {
			return false
		}
	}
	return true
}

func clipFloor(n *onnx.Node) float32 {
	if low := n.Input(1); low != nil && low.Const != nil {
		if f, err := low.Const.Float32s(); err == nil && len(f) == 1 {
			return f[0]
		}
	}
	return n.Float("min", -1)
}

func nonNegativeTensor(t *onnx.Tensor) bool {
	f, err := t.Float32s()
	if err != nil {
		return false
	}
	for _, x := range f {
		if !(x >= 0) {
			return false
		}
	}
	return true
}
