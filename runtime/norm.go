package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Normalizations. Statistics are taken in float64.

func init() {
	register("BatchNormalization", 1, batchNorm)
	register("InstanceNormalization", 1, instanceNorm)
	register("LayerNormalization", 17, layerNorm)
	register("RMSNormalization", 23, rmsNorm)
	register("GroupNormalization", 18, groupNorm)
	register("LpNormalization", 1, lpNorm)
	register("LRN", 1, lrn)
	register("MeanVarianceNormalization", 9, meanVariance)
}

// batchNorm with constant parameters is one multiplication and addition a
// channel, prepared when compiling.
func batchNorm(s *site) (kernel, error) {
	if s.Int("training_mode", 0) != 0 {
		return nil, fmt.Errorf("training mode is not supported")
	}
	epsilon := float64(s.Float("epsilon", 1e-5))
	var factor, offset []float32
	if s.constant(1) != nil && s.constant(2) != nil && s.constant(3) != nil && s.constant(4) != nil {
		var p [4]*Tensor
		for i := range p {
			if p[i] = s.takeFloats(i + 1); p[i] == nil {
				return nil, fmt.Errorf("input %d is %s, want float", i+1, s.constant(i+1))
			}
		}
		var err error
		if factor, offset, err = affine(p, epsilon); err != nil {
			return nil, err
		}
	}
	return func(c *call) error {
		in, src, err := c.floats(0)
		if err != nil {
			return err
		}
		f, o := factor, offset
		if f == nil {
			var p [4]*Tensor
			for i := range p {
				if p[i], _, err = c.floats(i + 1); err != nil {
					return err
				}
			}
			if f, o, err = affine(p, epsilon); err != nil {
				return err
			}
		}
		if len(in.Shape) < 2 || in.Shape[1] != len(f) {
			return fmt.Errorf("%s does not have %d channels", in, len(f))
		}
		out, err := c.newOver(0, 0, onnx.Float, in.Shape)
		if err != nil {
			return err
		}
		dst := out.Data.([]float32)
		size := product(in.Shape[2:])
		return c.parallel(in.Shape[0]*len(f), grain/max(size, 1), func(lo, hi int) {
			for p := lo; p < hi; p++ {
				a, b := f[p%len(f)], o[p%len(f)]
				d := dst[p*size : (p+1)*size]
				for i, x := range src[p*size : (p+1)*size] {
					d[i] = float32(x*a) + b
				}
			}
		})
	}, nil
}

// affine turns scale, bias, mean and variance into factor and offset.
func affine(p [4]*Tensor, epsilon float64) (factor, offset []float32, err error) {
	scale, bias, mean, variance := p[0].Data.([]float32), p[1].Data.([]float32), p[2].Data.([]float32), p[3].Data.([]float32)
	n := len(scale)
	if len(bias) != n || len(mean) != n || len(variance) != n {
		return nil, nil, fmt.Errorf("%d scales, %d biases, %d means, %d variances", n, len(bias), len(mean), len(variance))
	}
	factor, offset = make([]float32, n), make([]float32, n)
	for i := range n {
		f := float64(scale[i]) / math.Sqrt(float64(variance[i])+epsilon)
		factor[i], offset[i] = float32(f), float32(float64(bias[i])-float64(mean[i])*f)
	}
	return factor, offset, nil
}

// moments returns mean and variance.
func moments(s []float32) (mean, variance float64) {
	mean = sumOf(s) / float64(len(s))
	var sum float64
	for _, x := range s {
		d := float64(x) - mean
		sum += d * d
	}
	return mean, sum / float64(len(s))
}

// normalized prepares a float tensor, its output in place, and calls f for
// groups of size neighbouring elements.
func (c *call) normalized(size int, f func(group int, dst, src []float32)) error {
	in, src, err := c.floats(0)
	if err != nil {
		return err
	}
	out, err := c.newOver(0, 0, onnx.Float, in.Shape)
	if err != nil || size == 0 {
		return err
	}
	dst := out.Data.([]float32)
	return c.parallel(len(src)/size, grain/size, func(lo, hi int) {
		for g := lo; g < hi; g++ {
			f(g, dst[g*size:(g+1)*size], src[g*size:(g+1)*size])
		}
	})
}

// scaleAndBias returns inputs 1 and 2, each of n elements.
func (c *call) scaleAndBias(n int) (scale, bias []float32, err error) {
	if _, scale, err = c.floats(1); err != nil {
		return nil, nil, err
	}
	if _, bias, err = c.floats(2); err != nil {
		return nil, nil, err
	}
	if len(scale) != n || len(bias) != n {
		return nil, nil, fmt.Errorf("%d scales and %d biases, want %d", len(scale), len(bias), n)
	}
	return scale, bias, nil
}

func instanceNorm(s *site) (kernel, error) {
	epsilon := float64(s.Float("epsilon", 1e-5))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		if len(in.Shape) < 3 {
			return fmt.Errorf("%s has no spatial dimensions", in)
		}
		channels := in.Shape[1]
		scale, bias, err := c.scaleAndBias(channels)
		if err != nil {
			return err
		}
		return c.normalized(product(in.Shape[2:]), func(g int, dst, src []float32) {
			mean, variance := moments(src)
			f := float64(scale[g%channels]) / math.Sqrt(variance+epsilon)
			b := float64(bias[g%channels])
			for i, x := range src {
				dst[i] = float32((float64(x)-mean)*f + b)
			}
		})
	}, nil
}

func groupNorm(s *site) (kernel, error) {
	epsilon, groups, perChannel := float64(s.Float("epsilon", 1e-5)), int(s.Int("num_groups", 0)), s.opset >= 21
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		if len(in.Shape) < 2 || groups < 1 || in.Shape[1]%groups != 0 {
			return fmt.Errorf("the channels of %s are no multiple of %d groups", in, groups)
		}
		n, channels := groups, in.Shape[1]/groups // of scales, in a group
		if perChannel {
			n = in.Shape[1]
		}
		scale, bias, err := c.scaleAndBias(n)
		if err != nil {
			return err
		}
		size := product(in.Shape[2:])
		return c.normalized(size*channels, func(g int, dst, src []float32) {
			mean, variance := moments(src)
			inverse := 1 / math.Sqrt(variance+epsilon)
			for i, x := range src {
				k := g % groups
				if perChannel {
					k = k*channels + i/size
				}
				dst[i] = float32((float64(x)-mean)*inverse*float64(scale[k]) + float64(bias[k]))
			}
		})
	}, nil
}

func layerNorm(s *site) (kernel, error) {
	epsilon, axis := float64(s.Float("epsilon", 1e-5)), int(s.Int("axis", -1))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		at, err := axisOf(axis, len(in.Shape))
		if err != nil {
			return err
		}
		shape := slices.Clone(in.Shape)
		for i := at; i < len(shape); i++ {
			shape[i] = 1
		}
		// Scale and bias broadcast to the normalized dimensions.
		scale, err := c.expanded(1, in.Shape[at:])
		if err != nil {
			return err
		}
		var bias []float32
		if c.input(2) != nil {
			if bias, err = c.expanded(2, in.Shape[at:]); err != nil {
				return err
			}
		}
		var stats [2][]float32
		for i := range stats {
			if len(c.wanted) > i+1 && c.wanted[i+1] {
				t, err := c.new(i+1, onnx.Float, slices.Clone(shape))
				if err != nil {
					return err
				}
				stats[i] = t.Data.([]float32)
			}
		}
		return c.normalized(product(in.Shape[at:]), func(g int, dst, src []float32) {
			mean, variance := moments(src)
			inverse := 1 / math.Sqrt(variance+epsilon)
			if stats[0] != nil {
				stats[0][g] = float32(mean)
			}
			if stats[1] != nil {
				stats[1][g] = float32(inverse)
			}
			for i, x := range src {
				y := (float64(x) - mean) * inverse * float64(scale[i])
				if bias != nil {
					y += float64(bias[i])
				}
				dst[i] = float32(y)
			}
		})
	}, nil
}

// expanded returns a float input broadcast to a shape.
func (c *call) expanded(i int, shape []int) ([]float32, error) {
	t, d, err := c.floats(i)
	if err != nil {
		return nil, err
	}
	full, err := broadcastShape(t.Shape, shape)
	if err != nil || !slices.Equal(full, shape) {
		return nil, fmt.Errorf("input %d is %s, which does not broadcast to %v", i, t, shape)
	}
	if len(d) == product(shape) {
		return d, nil
	}
	out, err := New(onnx.Float, shape...)
	if err != nil {
		return nil, err
	}
	if err := c.copyStrided(out, t, 0, broadcastStrides(t.Shape, shape)); err != nil {
		return nil, err
	}
	return out.Data.([]float32), nil
}

func rmsNorm(s *site) (kernel, error) {
	epsilon, axis := float64(s.Float("epsilon", 1e-5)), int(s.Int("axis", -1))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		at, err := axisOf(axis, len(in.Shape))
		if err != nil {
			return err
		}
		scale, err := c.expanded(1, in.Shape[at:])
		if err != nil {
			return err
		}
		return c.normalized(product(in.Shape[at:]), func(_ int, dst, src []float32) {
			var sum float64
			for _, x := range src {
				sum += float64(x) * float64(x)
			}
			inverse := 1 / math.Sqrt(sum/float64(len(src))+epsilon)
			for i, x := range src {
				dst[i] = float32(float64(x) * inverse * float64(scale[i]))
			}
		})
	}, nil
}

func lpNorm(s *site) (kernel, error) {
	axis, p := int(s.Int("axis", -1)), s.Int("p", 2)
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		at, err := axisOf(axis, len(in.Shape))
		if err != nil {
			return err
		}
		return c.lines(in, in.Shape[at], product(in.Shape[at+1:]), func(dst, src []float64) {
			var norm float64
			for _, x := range src {
				if p == 1 {
					norm += math.Abs(x)
				} else {
					norm += x * x
				}
			}
			if p != 1 {
				norm = math.Sqrt(norm)
			}
			for i, x := range src {
				if norm == 0 {
					dst[i] = 0
				} else {
					dst[i] = x / norm
				}
			}
		})
	}, nil
}

func lrn(s *site) (kernel, error) {
	size := int(s.Int("size", 1))
	alpha, beta, bias := float64(s.Float("alpha", 1e-4)), float64(s.Float("beta", 0.75)), float64(s.Float("bias", 1))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		if len(in.Shape) < 2 {
			return fmt.Errorf("%s has no channels", in)
		}
		return c.lines(in, in.Shape[1], product(in.Shape[2:]), func(dst, src []float64) {
			for i, x := range src {
				var sum float64
				for k := max(0, i-(size-1)/2); k <= min(len(src)-1, i+size/2); k++ {
					sum += src[k] * src[k]
				}
				dst[i] = x / math.Pow(bias+alpha/float64(size)*sum, beta)
			}
		})
	}, nil
}

func meanVariance(s *site) (kernel, error) {
	axes := s.ints("axes")
	if axes == nil {
		axes = []int{0, 2, 3}
	}
	return func(c *call) error {
		in, src, err := c.floats(0)
		if err != nil {
			return err
		}
		axes, err := axesOf(axes, len(in.Shape))
		if err != nil {
			return err
		}
		// Bring the reduced dimensions to the end, normalize, bring them back.
		var perm []int
		for i := range in.Shape {
			if !slices.Contains(axes, i) {
				perm = append(perm, i)
			}
		}
		kept := len(perm)
		perm = append(perm, axes...)
		moved, err := c.scratch(onnx.Float, in.Shape...)
		if err != nil {
			return err
		}
		defer c.release(moved)
		if err := c.permute(moved, in, in.Shape, perm); err != nil {
			return err
		}
		dims, back := make([]int, len(perm)), make([]int, len(perm))
		for i, p := range perm {
			dims[i], back[p] = in.Shape[p], i
		}
		d := moved.Data.([]float32)
		if n := product(dims[kept:]); n > 0 {
			for g := 0; g+n <= len(src); g += n {
				mean, variance := moments(d[g : g+n])
				for i, x := range d[g : g+n] {
					d[g+i] = float32((float64(x) - mean) / (math.Sqrt(variance) + 1e-9))
				}
			}
		}
		out, err := c.new(0, onnx.Float, in.Shape)
		if err != nil {
			return err
		}
		return c.permute(out, moved, dims, back)
	}, nil
}
