package passes

import (
	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/onnx"
)

// isOrdered reports whether all nodes of a graph are standard operators that
// run once, one after the other: no control flow, nothing of another domain.
func isOrdered(g *onnx.Graph) bool {
	for _, n := range g.Nodes {
		if len(n.Subgraphs()) > 0 || n.Domain != "" && n.Domain != "ai.onnx" {
			return false
		}
	}
	return true
}

// isMatrix reports whether a convolution can be seen as matrices of constants.
func isMatrix(n *onnx.Node) bool {
	if len(n.Inputs[1].Const.Shape) != 4 || n.Input(2) != nil && n.Input(2).Const == nil {
		return false
	}
	return n.Op == "Conv" || n.Int("group", 1) == 1 && n.Str("auto_pad", "NOTSET") == "NOTSET" && len(n.Ints("output_shape")) == 0
}

func patchesOf(n *onnx.Node, in, out []int) calib.Patches {
	w := n.Inputs[1].Const.Shape
	p := calib.Patches{Group: int(n.Int("group", 1)), Transposed: n.Op == "ConvTranspose"}
	strides, dilations, pads := n.Ints("strides", 1, 1), n.Ints("dilations", 1, 1), n.Ints("pads", 0, 0, 0, 0)
	for i := range 2 {
		p.Kernel[i], p.Stride[i], p.Dilation[i], p.Pad[i] = int(w[2+i]), int(strides[i]), int(dilations[i]), int(pads[i])
		switch n.Str("auto_pad", "NOTSET") {
		case "SAME_UPPER":
			p.Pad[i] = max((out[2+i]-1)*p.Stride[i]+(p.Kernel[i]-1)*p.Dilation[i]+1-in[2+i], 0) / 2
		case "SAME_LOWER":
			p.Pad[i] = (max((out[2+i]-1)*p.Stride[i]+(p.Kernel[i]-1)*p.Dilation[i]+1-in[2+i], 0) + 1) / 2
		}
	}
	return p
}

// matrix sees the weights of a convolution as one matrix a group: outputs rows
// of inputs = channels * taps weights, in the order of calib.Patches.
type matrix struct {
	groups, outputs, inputs, taps int
	transposed                    bool
}

func matrixOf(n *onnx.Node, shape []int64) matrix {
	m := matrix{groups: int(n.Int("group", 1)), taps: int(shape[2] * shape[3]), transposed: n.Op == "ConvTranspose"}
	if m.transposed { // [In, Out/g, kH, kW]
		m.outputs, m.inputs = int(shape[1]), int(shape[0])/m.groups*m.taps
	} else { // [Out, In/g, kH, kW]
		m.outputs, m.inputs = int(shape[0])/m.groups, int(shape[1])*m.taps
	}
	return m
}

// index returns where weight i of output o of group g lies.
func (m matrix) index(g, o, i int) int {
	if m.transposed {
		in := g*(m.inputs/m.taps) + i/m.taps
		return (in*m.outputs+o)*m.taps + i%m.taps
	}
	return (g*m.outputs+o)*m.inputs + i
}

// parts returns into how many parts of whole channels the inputs of a group are cut to have no
// more than most each, if one channel has not more.
func (m matrix) parts(most int) int {
	channels := m.inputs / m.taps
	for n := 1; n < channels; n++ {
		if channels%n == 0 && m.inputs/n <= most {
			return n
		}
	}
	return channels
}

func (m matrix) row(data []float32, g, o int, dst []float32) {
	for i := range dst {
		dst[i] = data[m.index(g, o, i)]
	}
}

// columns returns the weights of group g as [inputs, outputs].
func (m matrix) columns(data []float32, g int) []float64 {
	w := make([]float64, m.inputs*m.outputs)
	for o := range m.outputs {
		for i := range m.inputs {
			w[i*m.outputs+o] = float64(data[m.index(g, o, i)])
		}
	}
	return w
}
