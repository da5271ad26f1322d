package bench

import (
	"strings"

	"github.com/daq-sr/daq/onnx"
)

// work is how many multiplications the nodes of a network take.
type work struct {
	total     float64
	nodes     map[string][]float64 // by label, several where nodes share one
	uncounted []string             // nodes whose shapes depend on data
}

// take returns the multiplications of the next node of this label.
func (w *work) take(label string) float64 {
	list := w.nodes[label]
	if len(list) == 0 {
		return 0
	}
	w.nodes[label] = list[1:]
	return list[0]
}

// workOf counts the multiplications for given sizes of the inputs. Bodies of If
// and Loop are not counted: which is run, and how often, is known too late.
func workOf(m *onnx.Model, sizes map[string][]int64) (*work, error) {
	m = m.Clone()
	if err := onnx.Inline(m); err != nil {
		return nil, err
	}
	if err := m.Graph.Sort(); err != nil {
		return nil, err
	}
	if err := onnx.InferWith(m, sizes); err != nil {
		return nil, err
	}
	w := &work{nodes: map[string][]float64{}}
	for _, n := range m.Graph.Nodes {
		macs, ok := multiplications(n)
		if !ok {
			w.uncounted = append(w.uncounted, n.Label())
		}
		w.total += macs
		w.nodes[n.Label()] = append(w.nodes[n.Label()], macs)
	}
	return w, nil
}

// multiplications of the definition of a node: 0 for operators that are not sums
// of products, false where shapes are not known.
func multiplications(n *onnx.Node) (macs float64, ok bool) {
	x, y := shape(n.Input(0)), []float64(nil)
	if len(n.Outputs) > 0 {
		y = shape(n.Outputs[0])
	}
	switch {
	case n.Is("Conv", "ConvInteger"):
		return kernels(y, shape(n.Input(1)))
	case n.Is("QLinearConv"):
		return kernels(y, shape(n.Input(3)))
	case n.Is("ConvTranspose"): // an element of the input meets a kernel for each output channel of its group
		return kernels(x, shape(n.Input(1)))
	case n.Is("MatMul", "MatMulInteger", "QLinearMatMul"):
		if len(x) == 0 || y == nil {
			return 0, false
		}
		return product(y) * x[len(x)-1], true
	case n.Is("Gemm"):
		if len(x) != 2 || y == nil {
			return 0, false
		}
		if n.Int("transA", 0) != 0 {
			return product(y) * x[0], true
		}
		return product(y) * x[1], true
	case n.Is("Einsum"):
		return einsum(n)
	}
	return 0, true
}

// kernels is every element of x times a kernel, whose first dimension tells
// kernels apart.
func kernels(x, weights []float64) (float64, bool) {
	if x == nil || len(weights) == 0 {
		return 0, false
	}
	return product(x) * product(weights[1:]), true
}

// einsum of two inputs: the product of the sizes of all letters. Ellipses and
// other numbers of inputs are not counted.
func einsum(n *onnx.Node) (float64, bool) {
	terms, _, _ := strings.Cut(strings.ReplaceAll(n.Str("equation", ""), " ", ""), "->")
	inputs := strings.Split(terms, ",")
	if len(inputs) != 2 || strings.Contains(terms, ".") {
		return 0, false
	}
	sizes := map[rune]float64{}
	for i, letters := range inputs {
		x := shape(n.Input(i))
		if len(x) != len(letters) {
			return 0, false
		}
		for k, letter := range letters {
			sizes[letter] = x[k]
		}
	}
	macs := 1.0
	for _, size := range sizes {
		macs *= size
	}
	return macs, true
}

// shape returns the sizes of a value, nil when they are not all known.
func shape(v *onnx.Value) []float64 {
	if v == nil {
		return nil
	}
	sizes, ok := v.Type.Shape.Ints()
	if v.Const != nil {
		sizes, ok = v.Const.Shape, true
	}
	if !ok {
		return nil
	}
	out := make([]float64, len(sizes))
	for i, n := range sizes {
		out[i] = float64(n)
	}
	return out
}

func product(shape []float64) float64 {
	p := 1.0
	for _, n := range shape {
		p *= n
	}
	return p
}
