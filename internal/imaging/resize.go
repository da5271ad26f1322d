package imaging

import (
	"fmt"
	"math"
	"runtime"
	"sync"
)

// Resize scales a picture to width x height with MATLAB's imresize(..., [height
// width]): bicubic with a = -0.5, antialiased when a dimension shrinks, borders
// mirrored. Values are not clamped. Alpha is scaled by the same filter, clamped
// to 0..1.
func Resize(m *Image, width, height int) (*Image, error) {
	return resize(m, width, height, func(v float64) float32 { return float32(v) })
}

// Resize8 is Resize of an 8-bit picture: samples are rounded to 8 bits before,
// after the first and after the second dimension, as MATLAB does for uint8.
// The low-resolution pictures of SR benchmarks are made so.
func Resize8(m *Image, width, height int) (*Image, error) {
	src := m.like(m.Channels)
	for i, v := range m.Pix {
		src.Pix[i] = float32(quantize(v, 255))
	}
	// Codes 0..255 are exact in float32, fractions of 255 are not.
	out, err := resize(src, width, height, func(v float64) float32 {
		return float32(min(max(math.Floor(v+0.5), 0), 255))
	})
	if err != nil {
		return nil, err
	}
	for i, v := range out.Pix {
		out.Pix[i] = v / 255
	}
	out.Depth = 8
	return out, nil
}

// Downscale8 shrinks by an integer factor with Resize8 after CropToMultiple:
// how benchmarks make LRx<k> from HR.
func Downscale8(m *Image, k int) (*Image, error) {
	m, err := m.CropToMultiple(k)
	if err != nil {
		return nil, err
	}
	return Resize8(m, m.Width/k, m.Height/k)
}

func resize(m *Image, width, height int, store func(float64) float32) (*Image, error) {
	if width <= 0 || height <= 0 || width > MaxPixels/height {
		return nil, fmt.Errorf("imaging: cannot resize %dx%d to %dx%d: at most %d pixels", m.Width, m.Height, width, height, MaxPixels)
	}
	out := New(width, height, m.Channels)
	out.Depth = m.Depth
	horizontal, vertical := newFilter(m.Width, width), newFilter(m.Height, height)
	// imresize begins with the dimension that shrinks most, rows first on a tie.
	rowsFirst := horizontal.scale >= vertical.scale
	apply := func(dst, src []float32, store func(float64) float32) {
		if rowsFirst {
			tmp := make([]float32, m.Width*height)
			vertical.columns(tmp, src, m.Width, store)
			horizontal.rows(dst, tmp, store)
		} else {
			tmp := make([]float32, width*m.Height)
			horizontal.rows(tmp, src, store)
			vertical.columns(dst, tmp, width, store)
		}
	}
	for c := range m.Channels {
		apply(out.Plane(c), m.Plane(c), store)
	}
	if m.Alpha != nil {
		out.Alpha = make([]float32, width*height)
		apply(out.Alpha, m.Alpha, func(v float64) float32 { return float32(min(max(v, 0), 1)) })
	}
	return out, nil
}

// filter holds, for every output sample of one dimension, the input samples
// that contribute and their weights.
type filter struct {
	scale   float64
	in, out int
	taps    int
	index   []int     // [out, taps]
	weight  []float64 // [out, taps]
}

// newFilter follows imresize's contributions(): output sample i sits at input
// coordinate (i + 0.5)/scale - 0.5; the kernel widens by 1/scale when shrinking.
func newFilter(in, out int) filter {
	scale := float64(out) / float64(in)
	stretch := min(scale, 1)
	width := 4 / stretch
	taps := int(math.Ceil(width)) + 2
	f := filter{scale: scale, in: in, out: out, taps: taps,
		index: make([]int, out*taps), weight: make([]float64, out*taps)}
	for i := range out {
		// One-based coordinates, as in the original: ties depend on it.
		u := float64(i+1)/scale + 0.5*(1-1/scale)
		left := math.Floor(u - width/2)
		index, weight := f.index[i*taps:(i+1)*taps], f.weight[i*taps:(i+1)*taps]
		sum := 0.0
		for j := range taps {
			k := left + float64(j)
			weight[j] = stretch * cubic(stretch*(u-k))
			sum += weight[j]
			index[j] = mirror(int(k)-1, in)
		}
		for j := range weight {
			weight[j] /= sum
		}
	}
	return f.trimmed()
}

// trimmed drops taps whose weight is 0 for every output sample.
func (f filter) trimmed() filter {
	used := make([]bool, f.taps)
	for i, w := range f.weight {
		used[i%f.taps] = used[i%f.taps] || w != 0
	}
	g := filter{scale: f.scale, in: f.in, out: f.out}
	for i, w := range f.weight {
		if used[i%f.taps] {
			g.weight, g.index = append(g.weight, w), append(g.index, f.index[i])
		}
	}
	g.taps = len(g.weight) / f.out
	return g
}

// parallel calls f for parts of 0..n on all processors. Every sample is
// computed alone, so the parts leave no trace in the result.
func parallel(n int, f func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { f(n*w/workers, n*(w+1)/workers) })
	}
	wg.Wait()
}

// rows filters along each row of src [H, in] into dst [H, out].
func (f *filter) rows(dst, src []float32, store func(float64) float32) {
	parallel(len(dst)/f.out, func(from, to int) { f.someRows(dst, src, from, to, store) })
}

func (f *filter) someRows(dst, src []float32, from, to int, store func(float64) float32) {
	for y := from; y < to; y++ {
		row, line := src[y*f.in:(y+1)*f.in], dst[y*f.out:(y+1)*f.out]
		for x := range line {
			sum := 0.0
			weight := f.weight[x*f.taps : (x+1)*f.taps]
			for j, k := range f.index[x*f.taps : (x+1)*f.taps] {
				sum += float64(weight[j] * float64(row[k]))
			}
			line[x] = store(sum)
		}
	}
}

// columns filters along each column of src [in, width] into dst [out, width],
// a row at a time so that memory is read in order.
func (f *filter) columns(dst, src []float32, width int, store func(float64) float32) {
	parallel(f.out, func(from, to int) { f.someColumns(dst, src, width, from, to, store) })
}

func (f *filter) someColumns(dst, src []float32, width, from, to int, store func(float64) float32) {
	sum := make([]float64, width)
	for y := from; y < to; y++ {
		clear(sum)
		for j := range f.taps {
			w := f.weight[y*f.taps+j]
			if w == 0 {
				continue
			}
			k := f.index[y*f.taps+j]
			for x, v := range src[k*width : (k+1)*width] {
				sum[x] += float64(w * float64(v))
			}
		}
		line := dst[y*width : (y+1)*width]
		for x, v := range sum {
			line[x] = store(v)
		}
	}
}

// cubic is Keys' kernel with a = -0.5.
func cubic(x float64) float64 {
	x = math.Abs(x)
	switch {
	case x <= 1:
		return float64(float64(1.5*x-2.5)*x*x) + 1
	case x <= 2:
		return float64(float64(float64(-0.5*x+2.5)*x-4)*x) + 2
	}
	return 0
}

// mirror reflects an index at the borders, edge sample repeated.
func mirror(i, n int) int {
	i %= 2 * n
	if i < 0 {
		i += 2 * n
	}
	if i >= n {
		i = 2*n - 1 - i
	}
	return i
}
