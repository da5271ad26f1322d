package passes

import (
	"math"

	"github.com/daq-sr/daq/onnx"
)

// keepFloat gives float convolutions between codes a bias that is dequantized: ONNX
// Runtime from 1.21 on rounds the float weights of all others to 8 bits, with one scale for all
// channels. The bias is as exact as before, in 31 bits.
//
//	DequantizeLinear -> Conv (x, weights, bias) -> Relu -> QuantizeLinear
func keepFloat(g *onnx.Graph) {
	for i := 0; i < len(g.Nodes); i++ {
		n := g.Nodes[i]
		if !n.Is("Conv", "ConvTranspose") || n.Inputs[1].Const == nil || n.Inputs[0].Producer == nil || !n.Inputs[0].Producer.Is("DequantizeLinear") || !endsInCodes(n) {
			continue
		}
		channels := channelsOf(n.Outputs[0])
		bias := make([]float32, max(channels, 0))
		if n.Input(2) != nil {
			if n.Inputs[2].Const == nil {
				continue
			}
			b, err := n.Inputs[2].Const.Float32s()
			if err != nil {
				continue
			}
			bias = b
		}
		most := 0.0
		for _, b := range bias {
			most = max(most, math.Abs(float64(b)))
		}
		scale := float32(most / (1 << 30))
		if scale == 0 {
			scale = 1
		}
		codes := make([]int32, len(bias))
		for c, b := range bias {
			codes[c] = int32(math.RoundToEven(float64(b) / float64(scale)))
		}
		name := n.Label() + "_bias"
		n.SetInput(2, insertBefore(n, "DequantizeLinear", name+"_dequantized", onnx.Type{Elem: onnx.Float, Shape: onnx.ShapeOf(int64(len(codes)))}, []*onnx.Value{
			g.AddInitializer(g.UniqueName(name+"_codes"), onnx.NewTensor(onnx.Int32, []int64{int64(len(codes))}, codes)),
			g.AddInitializer(g.UniqueName(name+"_scale"), onnx.Scalar(scale)),
		}, onnx.Attr("axis", int64(0))))
		i++
	}
}

// endsInCodes reports whether a node's result goes to a QuantizeLinear alone, clipped at most.
func endsInCodes(n *onnx.Node) bool {
	for {
		next := onlyReader(n.Outputs[0])
		switch {
		case next == nil:
			return false
		case next.Is("QuantizeLinear"):
			return true
		case !next.Is("Relu", "Clip"):
			return false
		}
		n = next
	}
}
