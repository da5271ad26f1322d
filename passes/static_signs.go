package passes

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// What comes out of the last skip connection is the one tensor that every error of is seen, and it
// lies on both sides of zero. As v = relu(v) - relu(-v), each side with all 256 codes, its step is half
// as wide; the convolution that reads it has twice the channels, its weights once more with
// the other sign.

// signsShare is the largest share of a network's multiplications that such a convolution may have:
// it is computed twice.
const signsShare = 0.1

// canReadSigns reports whether all readers of a value are convolutions in integers whose weights can be doubled.
func (p *placement) canReadSigns(readers []onnx.Use) bool {
	return len(readers) > 0 && !slices.ContainsFunc(readers, func(u onnx.Use) bool {
		return !p.convs[u.Node] || u.Index != 0 || u.Node.Op != "Conv" || u.Node.Int("group", 1) != 1
	})
}

// readSigns gives a convolution that reads [v, -v], both without what is below zero, instead of v the weights [W, -W].
func readSigns(n *onnx.Node) {
	w := n.Inputs[1].Const
	old, _ := w.Float32s()
	row := int(w.Shape[1] * w.Shape[2] * w.Shape[3])
	wide := make([]float32, 0, 2*len(old))
	for filter := range slices.Chunk(old, row) {
		wide = append(append(wide, filter...), negative(filter)...)
	}
	setConstant(n, 1, n.Inputs[1].Name, onnx.Floats([]int64{w.Shape[0], 2 * w.Shape[1], w.Shape[2], w.Shape[3]}, wide...))
}

func negative(list []float32) []float32 {
	negative := make([]float32, len(list))
	for i, x := range list {
		negative[i] = -x
	}
	return negative
}

// share returns the share that convolutions have of the multiplications of all of a model, 1 where
// sizes cannot be told.
func share(m *onnx.Model, readers []onnx.Use) float64 {
	sized := m.Clone()
	sizes := map[string][]int64{}
	for _, in := range sized.Graph.Inputs {
		for i, d := range in.Type.Shape {
			if !d.IsKnown() {
				d.Value = []int64{1, 0, 64, 64}[min(i, 3)] // N, C, H, W: any size will do
			}
			sizes[in.Name] = append(sizes[in.Name], d.Value)
		}
	}
	if err := onnx.InferWith(sized, sizes); err != nil {
		return 1
	}
	some, all := 0.0, 0.0
	for _, n := range sized.Graph.Nodes {
		if !quantizable(n) {
			continue
		}
		at := n.Outputs[0]
		if n.Op == "ConvTranspose" {
			at = n.Inputs[0]
		}
		area, ok := at.Type.Shape.Ints()
		if !ok || len(area) != 4 {
			return 1
		}
		products := float64(len(n.Inputs[1].Const.Data)) * float64(area[2]*area[3])
		all += products
		if slices.ContainsFunc(readers, func(u onnx.Use) bool { return u.Node.Label() == n.Label() }) {
			some += products
		}
	}
	return some / all
}
