package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

func init() { register("GridSample", 16, gridSample) }

// gridSample reads the input at coordinates from -1 to 1, the last dimension of
// the grid, in the order x, y, z (ONNX operator GridSample).
func gridSample(s *site) (kernel, error) {
	g := sampler{mode: s.Str("mode", "linear"), padding: s.Str("padding_mode", "zeros"), alignCorners: s.Int("align_corners", 0) != 0}
	switch g.mode {
	case "bilinear":
		g.mode = "linear"
	case "bicubic":
		g.mode = "cubic"
	case "linear", "cubic", "nearest":
	default:
		return nil, fmt.Errorf("mode %q is not known", g.mode)
	}
	switch g.padding {
	case "zeros", "border", "reflection":
	default:
		return nil, fmt.Errorf("padding_mode %q is not known", g.padding)
	}
	return g.run, nil
}

type sampler struct {
	mode, padding string
	alignCorners  bool
}

func (g sampler) run(c *call) error {
	in, src, err := c.floats(0)
	if err != nil {
		return err
	}
	grid, coordinates, err := c.floats(1)
	if err != nil {
		return err
	}
	rank := len(in.Shape) - 2
	if rank < 1 || len(grid.Shape) != rank+2 || grid.Shape[rank+1] != rank || grid.Shape[0] != in.Shape[0] {
		return fmt.Errorf("grid %s does not fit %s", grid, in)
	}
	points, channels, dims := product(grid.Shape[1:rank+1]), in.Shape[1], in.Shape[2:]
	out, err := c.new(0, onnx.Float, slices.Concat(in.Shape[:2], grid.Shape[1:rank+1]))
	if err != nil {
		return err
	}
	dst, size := out.Data.([]float32), product(dims)
	if size == 0 && len(dst) > 0 {
		return fmt.Errorf("%s has an empty dimension", in)
	}
	return c.parallel(in.Shape[0]*points, grain/(channels<<(2*rank)+1), func(lo, hi int) {
		var index []int
		var weight []float64
		for i := lo; i < hi; i++ {
			index, weight = g.taps(coordinates[i*rank:(i+1)*rank], dims, index, weight)
			n, p := i/points, i%points
			for ch := range channels {
				plane := src[(n*channels+ch)*size:]
				var sum float64
				for k, at := range index {
					if at >= 0 {
						sum += weight[k] * float64(plane[at])
					}
				}
				dst[(n*channels+ch)*points+p] = float32(sum)
			}
		}
	})
}

// taps returns the elements of a plane that make a point, and their weights;
// -1 is an element of zero padding.
func (g sampler) taps(point []float32, dims, index []int, weight []float64) ([]int, []float64) {
	index, weight = append(index[:0], 0), append(weight[:0], 1)
	for i, d := range dims {
		at, w := g.line(point[len(dims)-1-i], d)
		n := len(index)
		for k := range at {
			for j := range n {
				next := -1
				if index[j] >= 0 && at[k] >= 0 {
					next = index[j]*d + at[k]
				}
				index, weight = append(index, next), append(weight, weight[j]*w[k])
			}
		}
		index, weight = index[n:], weight[n:]
	}
	return index, weight
}

// line returns the elements and weights along a dimension of d elements.
func (g sampler) line(coordinate float32, d int) ([]int, []float64) {
	low, high := -0.5, float64(d)-0.5 // borders
	x := ((float64(coordinate)+1)*float64(d) - 1) / 2
	if g.alignCorners {
		low, high = 0, float64(d-1)
		x = (float64(coordinate) + 1) / 2 * float64(d-1)
	}
	if !(math.Abs(x) < 1<<40) { // also NaN
		x = -1 << 40
	}
	if g.mode == "nearest" {
		return []int{g.inside(int(math.RoundToEven(x)), d, low, high)}, []float64{1}
	}
	switch {
	case x >= low && x <= high:
	case g.padding == "border":
		x = min(max(x, 0), float64(d-1))
	case g.padding == "reflection":
		x = reflectBetween(x, low, high)
	}
	r := resizer{mode: g.mode, cubicA: -0.75}
	n := 2
	if g.mode == "cubic" {
		n = 4
	}
	base := int(math.Floor(x)) - n/2 + 1
	at, w := make([]int, n), make([]float64, n)
	for k := range n {
		at[k], w[k] = g.inside(base+k, d, low, high), r.kernel(x-float64(base+k))
	}
	return at, w
}

// inside brings an index into [0, d) or returns -1 for zero padding.
func (g sampler) inside(i, d int, low, high float64) int {
	switch {
	case i >= 0 && i < d:
		return i
	case g.padding == "zeros":
		return -1
	case g.padding == "border":
		return min(max(i, 0), d-1)
	}
	return min(max(int(reflectBetween(float64(i), low, high)), 0), d-1)
}

func reflectBetween(x, low, high float64) float64 {
	if low >= high {
		return low
	}
	period := 2 * (high - low)
	x = math.Mod(x-low, period)
	if x < 0 {
		x += period
	}
	if x > high-low {
		x = period - x
	}
	return x + low
}
