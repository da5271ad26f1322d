package kernels

import "context"

// winograd is F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional
// Neural Networks", 2015): tiles of 6x6 inputs give 4x4 outputs with 36
// multiplications for each pair of channels instead of 144. A batch of tiles
// makes each of the 36 positions one matrix multiplication. Transformed tiles
// are [36][tile][channel], products [36][tile][output].
type winograd struct {
	shape   ConvShape
	options Options
	chunks  []winoChunk
	slices  []winoSlice
	tiles   int // of a batch
}

// winoChunk is a range of output blocks.
type winoChunk struct {
	first, blocks int
	weights       [][]float32 // of each slice [36] of packBlocks
	bias          []float32
}

// winoSlice is a range of input channels.
type winoSlice struct {
	first, depth int
	spans        []span // of its channels, from the first on
}

const (
	// winoDepth is the number of input channels in a slice: their transformed
	// tiles stay in the second-level cache beside the products.
	winoDepth = 64
	winoTiles = 24
	winoLine  = Lanes // between positions, so that they do not share cache sets
)

// winogradSuits tells whether the transforms pay for themselves.
func winogradSuits(s ConvShape, o Options) bool {
	return !o.Strict && s.Kernel == [2]int{3, 3} && s.Stride == [2]int{1, 1} && s.Dilation == [2]int{1, 1} &&
		s.Groups == 1 && s.In >= 8 && s.Out >= 8
}

// winoG transforms kernels, points 0, 1, -1, 2, -2.
var winoG = [6][3]float64{
	{1. / 4, 0, 0}, {-1. / 6, -1. / 6, -1. / 6}, {-1. / 6, 1. / 6, -1. / 6},
	{1. / 24, 1. / 12, 1. / 6}, {1. / 24, -1. / 12, 1. / 6}, {0, 0, 1},
}

func newWinograd(s ConvShape, weights, bias []float32, o Options) *winograd {
	wg := &winograd{shape: s, options: o, tiles: winoTiles}
	for first := 0; first < s.In; first += winoDepth {
		depth := min(winoDepth, s.In-first)
		wg.slices = append(wg.slices, winoSlice{first, depth, channelSpans(nil, 0, depth, func(block int) int { return block * Lanes })})
	}
	bias = padTo(bias, Blocks(s.Out)*Lanes)
	for first, blocks := range chunksOf(Blocks(s.Out)) {
		c := winoChunk{first: first, blocks: blocks, bias: bias[first*Lanes:][:blocks*Lanes]}
		u := make([][36]float32, blocks*Lanes*s.In)
		for k := range u {
			if out := first*Lanes + k/s.In; out < s.Out {
				u[k] = winoKernel(weights[(out*s.In+k%s.In)*9:][:9])
			}
		}
		for _, sl := range wg.slices {
			var packed []float32
			for pos := range 36 {
				packed = append(packed, packBlocks(blocks, sl.depth, func(o, k int) float32 { return u[o*s.In+sl.first+k][pos] })...)
			}
			c.weights = append(c.weights, packed)
		}
		wg.chunks = append(wg.chunks, c)
	}
	if len(wg.chunks) > 1 && s.In > 2*winoDepth {
		wg.tiles /= 2
	}
	return wg
}

// chunksOf cuts blocks into chunks of about equal size.
func chunksOf(blocks int) func(yield func(first, n int) bool) {
	return func(yield func(first, n int) bool) {
		chunks := ceilDiv(blocks, maxChunk)
		for i := range chunks {
			if first := blocks * i / chunks; !yield(first, blocks*(i+1)/chunks-first) {
				return
			}
		}
	}
}

// channelSpans appends the spans of the channels [lo, hi), where at is the first
// element of a block.
func channelSpans(spans []span, lo, hi int, at func(block int) int) []span {
	for c := lo; c < hi; {
		n := min(hi-c, Lanes-c%Lanes)
		spans = append(spans, span{4 * (at(c/Lanes) + c%Lanes), n})
		c += n
	}
	return spans
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
	batches := ceilDiv(tiles, wg.tiles)
	// One chunk of outputs sees its inputs slice by slice; several share the
	// transformed tiles of all.
	inTile := Blocks(min(s.In, winoDepth)) * Lanes
	if len(wg.chunks) > 1 {
		inTile = Blocks(s.In) * Lanes
	}
	outTile := wg.chunks[len(wg.chunks)-1].blocks * Lanes // the last is the biggest
	inPos, outPos := wg.tiles*inTile+winoLine, wg.tiles*outTile+winoLine
	return w.each(ctx, t.n*batches, func(item int, sc *scratch) {
		image := item / batches
		first := item % batches * wg.tiles
		var list [winoTiles]tileRun
		runs := tileRuns(list[:0], first, min(first+wg.tiles, tiles), across)
		buf := sc.floats(36 * (inPos + outPos))
		in, out := buf[:36*inPos], buf[36*inPos:]
		transform := func(sl *winoSlice) []float32 {
			to := in
			if len(wg.chunks) > 1 {
				to = in[sl.first:]
			}
			for b := range Blocks(sl.depth) {
				plane := t.src[(image*Blocks(s.In)+sl.first/Lanes+b)*t.h*t.w*Lanes:][:t.h*t.w*Lanes]
				for _, r := range runs {
					winoInputRun(plane, t.h, t.w, r.y-s.Pads[0], r.x-s.Pads[1], r.n, to[r.col*inTile+b*Lanes:], inTile, inPos)
				}
			}
			return to
		}
		if len(wg.chunks) > 1 {
			for i := range wg.slices {
				transform(&wg.slices[i])
			}
		}
		count := ceilDiv(min(wg.tiles, tiles-first), panelPixels)
		for i := range wg.chunks {
			chunk := &wg.chunks[i]
			for k := range wg.slices {
				sl := &wg.slices[k]
				tiles := in[min(len(in), sl.first):]
				if len(wg.chunks) == 1 {
					tiles = transform(sl)
				}
				m := panels{count: count, pixel: inTile, spans: sl.spans, depth: sl.depth, blocks: chunk.blocks,
					cPixel: outTile, cBlock: Lanes, lo: noClamp}
				if k == 0 {
					m.start = zeros[:]
				}
				size := sl.depth * chunk.blocks * Lanes
				for pos := range 36 {
					m.a, m.b, m.c = tiles[pos*inPos:], chunk.weights[k][pos*size:][:size], out[pos*outPos:]
					m.multiply()
				}
			}
			for b := range chunk.blocks {
				for _, r := range runs {
					wg.store(sc, &t, image, chunk.first+b, r, out[r.col*outTile+b*Lanes:], outTile, outPos, chunk.bias[b*Lanes:])
				}
			}
		}
	})
}

// store transforms the products of one block of outputs for a run of tiles, puts
// the pixels where they belong and executes the tail.
func (wg *winograd) store(sc *scratch, t *task, image, block int, r tileRun, src []float32, tile, pos int, bias []float32) {
	lo, up := wg.options.lowest(), wg.options.Upscale
	rows, cols := min(4, t.oh-r.y), min(4*r.n, t.ow-r.x)
	number := image*Blocks(wg.shape.Out) + block
	if up == 1 {
		at := ((number*t.oh+r.y)*t.ow + r.x) * Lanes
		dst := t.dst[at:]
		whole := 0
		if rows == 4 {
			if whole = cols / 4; whole > 0 {
				winoOutput(whole, src, tile, pos, bias, lo, dst, t.ow*Lanes, Lanes)
			}
		}
		for k := whole; k < r.n; k++ { // tiles that are not all inside
			var window [16 * Lanes]float32
			winoOutput(1, src[k*tile:], tile, pos, bias, lo, window[:], 4*Lanes, Lanes)
			for y := range rows {
				copy(dst[(y*t.ow+4*k)*Lanes:][:min(4, cols-4*k)*Lanes], window[y*4*Lanes:])
			}
		}
		if t.tail != nil {
			for y := range rows {
				t.tail.apply(sc, number, at+y*t.ow*Lanes, cols*Lanes)
			}
		}
		return
	}
	// Channel (i*up+j)*C+c becomes channel c of pixels up apart.
	inner := Blocks(wg.shape.Out) / (up * up)
	phase, plane := block/inner, image*inner+block%inner
	at := ((plane*t.oh+r.y)*up + phase/up) * t.ow * up
	dst := t.dst[(at+r.x*up+phase%up)*Lanes:]
	if t.tail == nil && rows == 4 && cols == 4*r.n {
		winoOutput(r.n, src, tile, pos, bias, lo, dst, up*t.ow*up*Lanes, up*Lanes)
		return
	}
	window := sc.more(16 * winoTiles * Lanes)
	width := 4 * r.n * Lanes
	winoOutput(r.n, src, tile, pos, bias, lo, window, width, Lanes)
	for y := range rows {
		line := window[y*width:][:cols*Lanes]
		if t.tail != nil {
			t.tail.applyTo(sc, line, nil, number, 0, len(line))
		}
		to := dst[y*up*t.ow*up*Lanes:]
		for x := range cols {
			*(*[Lanes]float32)(to[x*up*Lanes:]) = *(*[Lanes]float32)(line[x*Lanes:])
		}
	}
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

// winoInputRun transforms n tiles of one block from (y, x) on; outside of the
// plane is zero.
func winoInputRun(plane []float32, h, w, y, x, n int, dst []float32, tile, pos int) {
	for k := 0; k < n; {
		left := x + 4*k
		if y >= 0 && y+6 <= h && left >= 0 && left+6 <= w {
			whole := min(n-k, (w-2-left)/4)
			winoInput(whole, plane[(y*w+left)*Lanes:], w*Lanes, dst[k*tile:], tile, pos)
			k += whole
			continue
		}
		var window [36 * Lanes]float32
		if from, to := max(0, -left), min(6, w-left); from < to {
			for r := max(0, -y); r < min(6, h-y); r++ {
				copy(window[(r*6+from)*Lanes:][:(to-from)*Lanes], plane[((y+r)*w+left+from)*Lanes:])
			}
		}
		winoInput(1, window[:], 6*Lanes, dst[k*tile:], tile, pos)
		k++
	}
}
