package passes

import (
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// The first convolution makes many features of few pixels. A second one that alone reads them, as they are, can
// read the pixels around each place instead, side by side: they are fewer, and codes already, so that nothing
// is rounded in between. A channel that is the same everywhere brings what the bias of the first made of them; outside of the picture
// all of these are zero, as the features were, so borders are exact.

// readPatches lets convolutions read patches of pixels instead of what a first convolution makes of
// them. Types must be inferred.
//
//	y = Conv (Conv (picture, V, b), W)
//	y = Conv (Conv (picture, identity), [W V, W b])
func readPatches(g *onnx.Graph, t *target.Target, l Layers) {
	p := place(g, t, l)
	for _, n := range slices.Clone(g.Nodes) {
		if !p.convs[n] || !isPlainConv(n) || !isPixels(n.Inputs[0]) {
			continue
		}
		next := soleReader(n.Outputs[0])
		if !p.convs[next] || !isPlainConv(next) {
			continue
		}
		v, w := n.Inputs[1].Const, next.Inputs[1].Const
		features, pixels := int(v.Shape[0]), int(v.Shape[1]*v.Shape[2]*v.Shape[3])
		patches := pixels + 1
		if 2*patches > features {
			continue // FMEN_x4, of 50 features, would lose 0.005 dB and be no faster
		}
		n.Outputs[0].Type = withChannels(n.Outputs[0].Type, int64(patches))
		first, _ := v.Float32s()
		second, _ := w.Float32s()
		bias, taps := floatBias(n), int(w.Shape[2]*w.Shape[3])
		var composed []float32
		for row := range slices.Chunk(second, features*taps) {
			for i := range pixels + 1 {
				for k := range taps {
					sum := 0.0
					for f := range features {
						of := bias[f]
						if i < pixels {
							of = first[f*pixels+i]
						}
						sum += float64(row[f*taps+k]) * float64(of)
					}
					composed = append(composed, float32(sum))
				}
			}
		}
		setConstant(n, 1, n.Label()+"_patches", patchWeights(v.Shape))
		setConstant(n, 2, n.Label()+"_one", patchBias(pixels, 1))
		setConstant(next, 1, next.Inputs[1].Name, onnx.Floats([]int64{w.Shape[0], int64(patches), w.Shape[2], w.Shape[3]}, composed...))
	}
}

// patchWeights returns weights that bring the pixels which those of a shape [features, colours, height, width] read side by
// side, and a channel without any.
func patchWeights(shape []int64) *onnx.Tensor {
	pixels := int(shape[1] * shape[2] * shape[3])
	w := make([]float32, (pixels+1)*pixels)
	for i := range pixels {
		w[i*pixels+i] = 1
	}
	return onnx.Floats([]int64{int64(pixels + 1), shape[1], shape[2], shape[3]}, w...)
}

// patchBias makes the channel without pixels one.
func patchBias(pixels int, one float32) *onnx.Tensor {
	b := make([]float32, pixels+1)
	b[pixels] = one
	return onnx.Floats([]int64{int64(len(b))}, b...)
}

// isPatches reports whether a value is what readPatches makes of pixels.
func isPatches(v *onnx.Value) bool {
	n := v.Producer
	if n == nil || !isPlainConv(n) || !isPixels(n.Inputs[0]) {
		return false
	}
	next, w, b := soleReader(v), n.Inputs[1].Const, floatBias(n)
	patches := patchWeights(w.Shape)
	one, _ := patchBias(len(b)-1, 1).Float32s()
	return next != nil && isPlainConv(next) && slices.Equal(w.Shape, patches.Shape) && slices.Equal(w.Data, patches.Data) && slices.Equal(b, one)
}

// AlignPatches makes the channel without pixels white, which has all bits of a code. It leaves the
// outputs of the graph what they were.
func AlignPatches(g *onnx.Graph, plan *Plan) {
	for _, n := range g.Nodes {
		if !isPlainConv(n) || !isPatches(n.Outputs[0]) {
			continue
		}
		pixels := int(channelsOf(n.Outputs[0])) - 1
		next := soleReader(n.Outputs[0])
		w := next.Inputs[1].Const
		old, _ := w.Float32s()
		weights := slices.Clone(old)
		taps := int(w.Shape[2] * w.Shape[3])
		for row := range slices.Chunk(weights, int(w.Shape[1])*taps) {
			for k := range taps {
				row[pixels*taps+k] /= plan.InputRange
			}
		}
		setConstant(next, 1, next.Inputs[1].Name, onnx.Floats(w.Shape, weights...))
		setConstant(n, 2, n.Inputs[2].Name, patchBias(pixels, plan.InputRange))
	}
}
