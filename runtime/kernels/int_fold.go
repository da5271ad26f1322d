package kernels

import (
	"context"
	"fmt"
	"math"
)

// Folded is what a convolution knows of the windows of one image. It may be used
// again for the next.
type Folded struct {
	weights   []byte    // of each depth inputs [point][output block][quad][16][4]
	start     []int32   // [point][output]: where sums start
	scale     []float32 // of each group of inputs [output block][scale][16]
	bias      []float32 // [row case][column case][output], 1x1: [output]
	encodings []encoding
	borders   []float32 // biases of the pixels of a tile [kind of row][kind of column][output block][4][4][16]
}

// Fold rounds the weights for windows of which each has one entry for each
// channel of the image.
func (c *IntConv) Fold(ctx context.Context, w *Workers, f *Folded, win Windows) error {
	if len(win.Scale) != c.shape.In || len(win.Offset) != c.shape.In {
		return fmt.Errorf("kernels: windows of %d and %d channels for %d", len(win.Scale), len(win.Offset), c.shape.In)
	}
	cases := 1
	if c.taps == 9 {
		cases = 16
	}
	group := c.inputs
	if c.grouped {
		group = c.depth
	}
	f.weights = resized(f.weights, c.points*c.outputs*c.inputs*c.form.size)
	f.start = resized(f.start, c.points*c.outputs)
	f.scale = resized(f.scale, ceilDiv(c.inputs, group)*c.scales()*c.outputs)
	f.bias = resized(f.bias, cases*c.outputs)
	f.encodings = resized(f.encodings, c.inputs/Lanes)
	for i := range c.inputs {
		scale, offset := float32(math.Inf(1)), float32(0)
		if i < c.shape.In {
			scale, offset = win.Scale[i], win.Offset[i]
		}
		centre := c.centre[i]
		if c.form == &byteForm && c.points == 1 {
			centre -= pointwiseZero >> c.shift[i]
		}
		f.encodings[i/Lanes].set(i%Lanes, scale, offset, c.levels[i], centre, c.shift[i])
	}
	return foldJobs.run(ctx, w, c.outputs/Lanes, foldJob{c, f, win, group})
}

// foldJob folds into weights; an item is a block of outputs, whose inputs are rounded
// in groups.
type foldJob struct {
	*IntConv
	f     *Folded
	win   Windows
	group int
}

var foldJobs = jobs[foldJob]{item: (*foldJob).item}

func (j *foldJob) item(b int, sc *scratch) {
	c, f, win, group := j.IntConv, j.f, j.win, j.group
	buf := sc.floats((group*c.points + 3*c.points + c.taps) * Lanes)
	take := func(n int) []float32 {
		part := buf[:n*Lanes]
		buf = buf[n*Lanes:]
		return part
	}
	sums, most, inverse, offsets := take(c.points), take(c.points), take(c.points), take(c.taps)
	clear(offsets)
	u := take(group * c.points)
	for k := 0; k < c.inputs; k += group {
		n := min(group, c.inputs-k)
		clear(sums)
		clear(most)
		for i := k; i < k+n; i++ {
			var scale, level float32
			if i < c.shape.In {
				scale = win.Scale[i] / float32(int(1)<<c.shift[i])
				level = win.Offset[i] + float32(c.centre[i])*win.Scale[i] // of c = 0
			}
			weights := c.weights[(b*c.inputs+i)*c.taps*Lanes:][:c.taps*Lanes]
			if c.form == &byteForm && c.points > 1 {
				foldBytes(u[(i-k)*c.points*Lanes:], weights, scale, level, most, offsets)
			} else {
				foldInput(c.points, u[(i-k)*c.points*Lanes:], weights, scale, level, c.half(i), sums, most, offsets)
			}
		}
		if c.form == &byteForm {
			c.roundBytes(f, b, u, most, inverse)
		} else {
			c.roundWords(f, b, k, n, u, sums, most, inverse)
		}
	}
	c.foldBias(f, b, offsets)
}

func (c *IntConv) scales() int {
	if c.points == 1 {
		return 1
	}
	return c.form.scales
}

// roundWords rounds u, the transformed weights of n inputs from k on for the outputs
// of block b, as finely as the sum of all lets them be: sums and most are [point][16],
// the sum of |u| times the largest code and the largest |u|. inverse is scratch.
func (c *IntConv) roundWords(f *Folded, b, k, n int, u, sums, most, inverse []float32) {
	halves := 0.0
	for i := k; i < k+n; i++ {
		halves += float64(c.half(i))
	}
	scales := f.scale[(k/c.depth*c.outputs+b*Lanes)*c.points:] // k is 0 unless grouped
	for p := range c.points {
		gain := 1.
		if c.points > 1 {
			gain = winoGain[p/6] * winoGain[p%6]
		}
		room := math.MaxInt32 - gain*halves/2 // less what rounding may add
		for l := range Lanes {
			s := max(float64(most[p*Lanes+l])/math.MaxInt16, 1.00001*gain*float64(sums[p*Lanes+l])/room)
			scales[p*Lanes+l], inverse[p*Lanes+l] = float32(s), 0
			if s > 0 {
				inverse[p*Lanes+l] = float32(1 / s)
			}
		}
		for at := k; at < k+n; at += c.depth {
			deep := min(c.depth, k+n-at)
			to := f.weights[2*(at*c.points*c.outputs+(p*c.outputs+b*Lanes)*deep):]
			roundWeights(deep/2, asWords(to), u[((at-k)*c.points+p)*Lanes:], c.points*Lanes, inverse[p*Lanes:])
		}
		clear(f.start[p*c.outputs+b*Lanes:][:Lanes])
	}
}

// roundBytes rounds u, the transformed weights of all inputs for the outputs of block
// b, to 8 bits: most is [scale][16]. inverse is scratch.
func (c *IntConv) roundBytes(f *Folded, b int, u, most, inverse []float32) {
	n := c.scales()
	scales := f.scale[b*n*Lanes:][:n*Lanes]
	for i, m := range most[:n*Lanes] {
		scales[i], inverse[i] = m/math.MaxInt8, 0
		if m > 0 {
			inverse[i] = math.MaxInt8 / m
		}
	}
	if c.points > 1 {
		from, to := byteScaleOf(byteEven), byteScaleOf(byteInputs)
		byteRest(c.inputs, u, inverse[from*Lanes:])
		for l := range Lanes { // what is left are halves at most
			inverse[to*Lanes+l], scales[to*Lanes+l] = 2*math.MaxInt8, scales[from*Lanes+l]/(2*math.MaxInt8)
		}
	}
	for p := range c.points {
		s := 0
		if c.points > 1 {
			s = byteScaleOf(p)
		}
		start := f.start[p*c.outputs+b*Lanes:][:Lanes]
		clear(start)
		for at := 0; at < c.inputs; at += c.depth {
			deep := min(c.depth, c.inputs-at)
			to := f.weights[at*c.points*c.outputs+(p*c.outputs+b*Lanes)*deep:]
			roundBytes(deep/4, asSigned(to), u[(at*c.points+p)*Lanes:], c.points*Lanes, inverse[s*Lanes:], start)
		}
		if c.points == 1 {
			for l := range start {
				start[l] = start[l] / 128 * pointwiseZero
			}
		}
	}
	if c.points > 1 {
		for i := range scales {
			scales[i] *= byteGain(i / Lanes)
		}
	}
}

// pointwiseZero is what codes get added to be unsigned where they are not transformed.
const pointwiseZero = 64

// foldBias adds up what the offsets give, sums[tap][16] for the outputs of block
// b, over the taps inside of the image: in case 1 the first row or column of the
// window is outside, in case 2 the last, in case 3 both.
func (c *IntConv) foldBias(f *Folded, b int, sums []float32) {
	bias := (*[Lanes]float32)(c.bias[b*Lanes:])
	if c.taps == 1 {
		for l := range Lanes {
			f.bias[b*Lanes+l] = bias[l] + sums[l]
		}
		return
	}
	for row := range 4 {
		var columns [3][Lanes]float32
		for ky := row & 1; ky < 3-row>>1; ky++ {
			for kx := range columns {
				for l, v := range (*[Lanes]float32)(sums[(ky*3+kx)*Lanes:]) {
					columns[kx][l] += v
				}
			}
		}
		for col := range 4 {
			to := (*[Lanes]float32)(f.bias[(row*4+col)*c.outputs+b*Lanes:])
			*to = *bias
			for kx := col & 1; kx < 3-col>>1; kx++ {
				for l, v := range columns[kx] {
					to[l] += v
				}
			}
		}
	}
}

func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
