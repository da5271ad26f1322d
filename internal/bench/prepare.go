package bench

import (
	"fmt"
	"math/rand/v2"
	goruntime "runtime"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// prepare compiles a network and makes its inputs.
func prepare(m *onnx.Model, o Options) (*subject, error) {
	s := &subject{inputs: map[string]*runtime.Tensor{}, threads: o.Threads}
	if s.threads <= 0 {
		s.threads = goruntime.GOMAXPROCS(0)
	}
	sizes := map[string][]int64{}
	sized := false
	for _, v := range m.Graph.Inputs {
		if v.Const != nil {
			continue
		}
		shape, err := inputShape(v, o)
		if err != nil {
			return nil, err
		}
		if n, err := onnx.Elements(wide(shape)); err != nil || n > mostElements {
			return nil, fmt.Errorf("input %q of size %v is larger than %d elements: choose a smaller size", v.Name, shape, mostElements)
		}
		t, err := runtime.New(v.Type.Elem, shape...)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", v.Name, err)
		}
		if err := fill(t); err != nil {
			return nil, fmt.Errorf("input %q: %w", v.Name, err)
		}
		s.inputs[v.Name] = t
		s.shown = append(s.shown, fmt.Sprintf("%s %s", v.Name, onnx.Type{Elem: t.Type, Shape: shapeOf(shape)}))
		sizes[v.Name], sized = wide(shape), sized || len(shape) == 4
	}
	if o.Height > 0 && !sized {
		return nil, fmt.Errorf("no input of the network has height and width (%v): leave the size out", s.shown)
	}
	var err error
	if s.work, err = workOf(m, sizes); err != nil {
		return nil, err
	}
	s.program, err = runtime.Compile(m, runtime.Options{Threads: s.threads, Exact: o.Exact})
	return s, err
}

// mostElements of an input: a picture of 100 megapixels.
const mostElements = 300 << 20

// inputShape completes the declared shape: one picture of the wanted size, with
// 3 channels unless the network says how many.
func inputShape(v *onnx.Value, o Options) (shape []int, err error) {
	declared := v.Type.Shape
	if declared == nil {
		declared = onnx.Shape{onnx.Unknown, onnx.Unknown, onnx.Unknown, onnx.Unknown}
	}
	size := [2]int{o.Height, o.Width}
	if o.Height <= 0 {
		size = [2]int{DefaultSize, DefaultSize}
	}
	for i, d := range declared {
		n := 1
		switch {
		case d.IsKnown():
			n = int(d.Value)
		case len(declared) == 4 && i == 1:
			n = 3
		case len(declared) == 4 && i >= 2:
			n = size[i-2]
		}
		if len(declared) == 4 && i >= 2 && d.IsKnown() && o.Height > 0 && n != size[i-2] {
			return nil, fmt.Errorf("input %q is %s: it cannot have the size %dx%d", v.Name, v.Type, o.Height, o.Width)
		}
		shape = append(shape, n)
	}
	return shape, nil
}

// fill sets random values from 0 to 1, the same in every run. Integers stay 0:
// they are mostly indices and sizes.
func fill(t *runtime.Tensor) error {
	r := rand.New(rand.NewPCG(1, 2))
	switch data := t.Data.(type) {
	case []float32:
		for i := range data {
			data[i] = r.Float32()
		}
	case []float64:
		for i := range data {
			data[i] = r.Float64()
		}
	case []uint8:
		for i := range data {
			data[i] = uint8(r.Uint32() & (1<<t.Type.Bits() - 1))
		}
	case []string:
		return fmt.Errorf("text cannot be made up")
	}
	return nil
}

func wide(shape []int) []int64 {
	out := make([]int64, len(shape))
	for i, n := range shape {
		out[i] = int64(n)
	}
	return out
}

func shapeOf(shape []int) onnx.Shape { return onnx.ShapeOf(wide(shape)...) }
