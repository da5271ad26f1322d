package models

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Weights gives a network its parameters: a StateDict, or Random.
type Weights interface {
	parameter(p parameter) (*onnx.Tensor, error)
}

// parameter is what a layer asks Weights for.
type parameter struct {
	name  string
	shape []int64
	start float32 // initial value of a parameter that is not a convolution's kernel
}

// StateDict is the parameters of a trained network under the names that
// PyTorch's state_dict gives them. Kernels of convolutions are [out,in,kh,kw],
// everything else is [channels].
type StateDict map[string]*onnx.Tensor

func (d StateDict) parameter(p parameter) (*onnx.Tensor, error) {
	t := d[p.name]
	if t == nil {
		return nil, fmt.Errorf("the state dictionary has no %q (%v): it is of another network or configuration", p.name, p.shape)
	}
	if !slices.Equal(t.Shape, p.shape) {
		return nil, fmt.Errorf("parameter %q is %v, the configuration needs %v", p.name, t.Shape, p.shape)
	}
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("parameter %q: %w", p.name, err)
	}
	values, err := t.Float32s()
	if err != nil {
		return nil, fmt.Errorf("parameter %q: %w", p.name, err)
	}
	for i, v := range values {
		if v-v != 0 {
			return nil, fmt.Errorf("parameter %q: element %d is %v, the network is broken", p.name, i, v)
		}
	}
	return t.Clone(), nil
}

// Random returns weights for tests and benchmarks, the same for the same seed:
// kernels are normal with variance 2/fan_in (He et al., "Delving Deep into
// Rectifiers", ICCV 2015), biases 0, normalizations the identity, PReLU slopes
// 0.25. A parameter depends on the seed and its name alone.
func Random(seed uint64) Weights { return random(seed) }

type random uint64

func (r random) parameter(p parameter) (*onnx.Tensor, error) {
	n, err := onnx.Elements(p.shape)
	if err != nil {
		return nil, fmt.Errorf("parameter %q: %w", p.name, err)
	}
	values := make([]float32, n)
	if len(p.shape) != 4 {
		for i := range values {
			values[i] = p.start
		}
		return onnx.Floats(p.shape, values...), nil
	}
	h := fnv.New64a()
	h.Write([]byte(p.name))
	rng := rand.New(rand.NewPCG(uint64(r), h.Sum64()))
	sigma := math.Sqrt(2 / float64(n/p.shape[0]))
	for i := range values {
		values[i] = float32(rng.NormFloat64() * sigma)
	}
	return onnx.Floats(p.shape, values...), nil
}
