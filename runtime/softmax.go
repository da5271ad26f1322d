package runtime

import (
	"math"
	"slices"
)

// Softmax and its kin, line by line. Sums are taken in float64.

func init() {
	register("Softmax", 1, softmax(softmaxLine, 13))
	register("LogSoftmax", 1, softmax(logSoftmaxLine, 13))
	register("Hardmax", 1, softmax(hardmaxLine, 13))
}

// softmax works along one axis from opset 13 on, before along all dimensions
// from the axis to the last.
func softmax(line func(dst, src []float64), oneAxis int64) prepare {
	return func(s *site) (kernel, error) {
		single := s.opset >= oneAxis
		axis := 1
		if single {
			axis = -1
		}
		axis = int(s.Int("axis", int64(axis)))
		return func(c *call) error {
			in, err := c.need(0)
			if err != nil {
				return err
			}
			at, err := axisOf(axis, len(in.Shape))
			if err != nil {
				return err
			}
			n, inner := in.Shape[at], product(in.Shape[at+1:])
			if !single {
				n, inner = n*inner, 1
			}
			return c.lines(in, n, inner, line)
		}, nil
	}
}

// lines calls f for every line of n elements that are inner apart.
func (c *call) lines(in *Tensor, n, inner int, f func(dst, src []float64)) error {
	out, err := c.newOver(0, 0, in.Type, in.Shape)
	if err != nil || out.Len() == 0 {
		return err
	}
	switch d := out.Data.(type) {
	case []float32:
		return linesOf(c, d, in.Data.([]float32), n, inner, f)
	case []float64:
		return linesOf(c, d, in.Data.([]float64), n, inner, f)
	}
	return typeError(0, in)
}

func linesOf[T float32 | float64](c *call, dst, src []T, n, inner int, f func(dst, src []float64)) error {
	return c.parallel(len(src)/n, grain/n, func(lo, hi int) {
		x, y := make([]float64, n), make([]float64, n)
		for line := lo; line < hi; line++ {
			first := line/inner*n*inner + line%inner
			for i := range x {
				x[i] = float64(src[first+i*inner])
			}
			f(y, x)
			for i, v := range y {
				dst[first+i*inner] = T(v)
			}
		}
	})
}

func softmaxLine(dst, src []float64) {
	highest := slices.Max(src)
	var sum float64
	for i, x := range src {
		dst[i] = math.Exp(x - highest)
		sum += dst[i]
	}
	for i := range dst {
		dst[i] /= sum
	}
}

func logSoftmaxLine(dst, src []float64) {
	highest := slices.Max(src)
	var sum float64
	for _, x := range src {
		sum += math.Exp(x - highest)
	}
	log := math.Log(sum)
	for i, x := range src {
		dst[i] = x - highest - log
	}
}

func hardmaxLine(dst, src []float64) {
	best := 0
	for i, x := range src {
		dst[i] = 0
		if x > src[best] {
			best = i
		}
	}
	dst[best] = 1
}
