//go:build unix

package peer

import "strings"

// Node is a node of the graph that a runtime has made of a network.
type Node struct {
	Op              string // "QLinearConv" of ONNX Runtime, "Convolution:u8" of OpenVINO
	Name            string
	Inputs, Outputs []string // ONNX Runtime's only
}

// Operators counts nodes by operator.
type Operators map[string]int

// Integer counts the operators that compute on integers: ONNX Runtime's fused
// QLinear operators and their like, OpenVINO's of 8-bit precision. Quantizing,
// dequantizing and moving of codes do not count.
func (o Operators) Integer() int { return o.count(isInteger) }

// Convolutions counts convolutions on integers and all convolutions.
func (o Operators) Convolutions() (integer, all int) {
	return o.count(func(op string) bool { return isConvolution(op) && isInteger(op) }), o.count(isConvolution)
}

func (o Operators) count(is func(string) bool) int {
	sum := 0
	for op, n := range o {
		if is(op) {
			sum += n
		}
	}
	return sum
}

func isConvolution(op string) bool {
	name, _, _ := strings.Cut(op, ":")
	switch name {
	case "Conv", "FusedConv", "QLinearConv", "ConvInteger", "ConvTranspose", "Convolution", "Deconvolution":
		return true
	}
	return false
}

func isInteger(op string) bool {
	if name, precision, ok := strings.Cut(op, ":"); ok { // OpenVINO, which says of moves too on what they work
		switch name {
		case "Convolution", "Deconvolution", "Eltwise", "MatMul", "FullyConnected", "Pooling", "Subgraph":
			return precision == "i8" || precision == "u8"
		}
		return false
	}
	return strings.HasPrefix(op, "QLinear") || op == "QGemm" || op == "QAttention" || op == "ConvInteger" || strings.HasPrefix(op, "MatMulInteger")
}
