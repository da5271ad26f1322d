package kernels

import "context"

// winograd is F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional
// Neural Networks", 2015): tiles of 6x6 inputs give 4x4 outputs with 36
// multiplications for each pair of channels instead of 144. A batch of nr tiles
// makes each of the 36 positions one matrix multiplication.
type winograd struct {
	shape   ConvShape
	chunks  []winoChunk
	biggest int // rows of the biggest chunk, padded
	lo      float32
}

// winoChunk is a range of output channels: few enough for their products of a
// batch to stay in the second-level cache.
type winoChunk struct {
	first, rows, padded int
	weights             []float32 // of each slice of inputs [36][padded/mr][depth][mr]
	bias                []float32
}

const winoChunkRows = 64

// winoDepth is the number of input channels in a slice: their transformed tiles
// stay in the second-level cache beside the products.
const winoDepth = 64

// winogradSuits tells whether the transforms pay for themselves.
func winogradSuits(s ConvShape) bool {
	return s.Kernel == [2]int{3, 3} && s.Stride == [2]int{1, 1} && s.Dilation == [2]int{1, 1} &&
		s.Groups == 1 && s.In >= 8 && s.Out >= 8
}

// winoG transforms kernels, points 0, 1, -1, 2, -2.
var winoG = [6][3]float64{
	{1. / 4, 0, 0}, {-1. / 6, -1. / 6, -1. / 6}, {-1. / 6, 1. / 6, -1. / 6},
	{1. / 24, 1. / 12, 1. / 6}, {1. / 24, -1. / 12, 1. / 6}, {0, 0, 1},
}

func newWinograd(s ConvShape, weights, bias []float32, lo float32) *winograd {
	wg := &winograd{shape: s, lo: lo}
	bias = padTo(bias, s.Out)
	for first := 0; first < s.Out; first += winoChunkRows {
		c := winoChunk{first: first, rows: min(winoChunkRows, s.Out-first)}
		c.padded = roundUp(c.rows, mr)
		c.bias = padTo(bias[first:][:c.rows], c.padded)
		c.weights = make([]float32, 36*c.padded*s.In)
		for o := range c.rows {
			for i := range s.In {
				u := winoKernel(weights[((first+o)*s.In+i)*9:][:9])
				depth := min(winoDepth, s.In-i/winoDepth*winoDepth)
				slice := c.weights[36*c.padded*(i/winoDepth*winoDepth):]
				for pos, v := range u {
					slice[(pos*c.padded+o/mr*mr)*depth+i%winoDepth*mr+o%mr] = v
				}
			}
		}
		wg.chunks = append(wg.chunks, c)
		wg.biggest = max(wg.biggest, c.padded)
	}
	return wg
}

// winoKernel is G*g*G' of a 3x3 kernel, summed in float64.
func winoKernel(g []float32) (u [36]float32) {
	var t [6][3]float64
	for i, r := range winoG {
		for x := range 3 {
			t[i][x] = r[0]*float64(g[x]) + r[1]*float64(g[3+x]) + r[2]*float64(g[6+x])
		}
	}
	for i := range 6 {
		for j, r := range winoG {
			u[i*6+j] = float32(t[i][0]*r[0] + t[i][1]*r[1] + t[i][2]*r[2])
		}
	}
	return u
}

func (wg *winograd) run(ctx context.Context, w *Workers, t task) error {
	s := wg.shape
	across := ceilDiv(t.ow, 4)
	tiles := ceilDiv(t.oh, 4) * across
	batches := ceilDiv(tiles, nr)
	// Transforms write winoTiles columns even when fewer are left: into the next
	// channel, which is transformed later, or into this room at the end.
	inStride := s.In*nr + winoTiles
	if len(wg.chunks) == 1 {
		inStride = min(s.In, winoDepth)*nr + winoTiles
	}
	outStride := wg.biggest*nr + winoTiles
	return w.each(ctx, t.n*batches, func(item int, sc *scratch) {
		image := t.src[item/batches*s.In*t.h*t.w:][:s.In*t.h*t.w]
		first := item % batches * nr
		var list [nr]tileRun
		runs := tileRuns(list[:0], first, min(first+nr, tiles), across)
		buf := sc.floats(36 * (inStride + outStride))
		in, out := buf[:36*inStride], buf[36*inStride:]
		// The slices of inputs are outside for one chunk of outputs, inside for
		// several, which share all transformed tiles.
		transform := func(from, to int) {
			for c := from; c < to; c++ {
				plane := image[c*t.h*t.w:][:t.h*t.w]
				for _, r := range runs {
					for k := 0; k < r.n; k += winoTiles {
						winoInputAt(plane, t.h, t.w, r.y-s.Pads[0], r.x+4*k-s.Pads[1], in[(c-from)*nr+r.col+k:], inStride)
					}
				}
			}
		}
		if len(wg.chunks) > 1 {
			transform(0, s.In)
		}
		for i := range wg.chunks {
			chunk := &wg.chunks[i]
			for k := 0; k < s.In; k += winoDepth {
				depth := min(winoDepth, s.In-k)
				tiles := in[k*nr:]
				if len(wg.chunks) == 1 {
					tiles = in
					transform(k, k+depth)
				}
				start := zeros[:]
				if k > 0 {
					start = nil
				}
				weights := chunk.weights[36*chunk.padded*k:]
				for pos := range 36 {
					gemmPanel(chunk.padded/mr, depth, weights[pos*chunk.padded*depth:], tiles[pos*inStride:],
						out[pos*outStride:], nr, start, noClamp)
				}
			}
			for o := range chunk.rows {
				number := item/batches*s.Out + chunk.first + o
				plane := t.dst[number*t.oh*t.ow:][:t.oh*t.ow]
				for _, r := range runs {
					for k := 0; k < r.n; k += winoTiles {
						winoOutputAt(plane, t.oh, t.ow, r.y, r.x+4*k, min(winoTiles, r.n-k), out[o*nr+r.col+k:], outStride, chunk.bias[o], wg.lo)
					}
					if t.tail != nil {
						for y := r.y; y < min(r.y+4, t.oh); y++ {
							t.tail.apply(sc, number, (number*t.oh+y)*t.ow+r.x, min(4*r.n, t.ow-r.x))
						}
					}
				}
			}
		}
	})
}

// tileRun are n tiles beside each other: their outputs start at (y, x), the
// first is number col of the batch.
type tileRun struct{ col, y, x, n int }

// tileRuns appends the runs of the tiles [first, last) of an image with so many
// tiles across.
func tileRuns(runs []tileRun, first, last, across int) []tileRun {
	for t := first; t < last; {
		n := min(across-t%across, last-t)
		runs = append(runs, tileRun{t - first, t / across * 4, t % across * 4, n})
		t += n
	}
	return runs
}

// winoInputAt transforms winoTiles tiles from (y, x) on; outside of the plane is
// zero.
func winoInputAt(plane []float32, h, w, y, x int, dst []float32, stride int) {
	if y >= 0 && y+6 <= h && x >= 0 && x+winoIn <= w {
		winoInput(plane[y*w+x:], w, dst, stride, h*w)
		return
	}
	if winoInputEdge(plane, h, w, y, x, dst, stride) {
		return
	}
	var window [6 * winoIn]float32
	if left, right := max(0, -x), min(winoIn, w-x); left < right {
		for r := max(0, -y); r < min(6, h-y); r++ {
			copy(window[r*winoIn+left:][:right-left], plane[(y+r)*w+x+left:])
		}
	}
	winoInput(window[:], winoIn, dst, stride, 0)
}

// winoOutputAt transforms n tiles and stores what lies in the plane.
func winoOutputAt(plane []float32, h, w, y, x, n int, src []float32, stride int, start, lo float32) {
	if y+4 <= h && x+winoOut <= w && n == winoTiles {
		winoOutput(src, stride, start, lo, plane[y*w+x:], w, h*w)
		return
	}
	var window [4 * winoOut]float32
	winoOutput(src, stride, start, lo, window[:], winoOut, 0)
	for r := range min(4, h-y) {
		copy(plane[(y+r)*w+x:][:min(4*n, w-x)], window[r*winoOut:])
	}
}
