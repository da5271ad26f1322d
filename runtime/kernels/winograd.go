package kernels

import "context"

// winograd is F(6x6, 3x3) and F(4x4, 5x5): tiles of 8x8 inputs give 36 or 16
// outputs with 64 multiplications for each pair of channels instead of 324 or 400.
// A batch of tiles makes each of the 64 positions one matrix multiplication.
// Transformed tiles are [tile][64][channel], products [tile][64][output].
type winograd struct {
	shape   ConvShape
	options Options
	size    int // of a tile of outputs
	chunks  []winoChunk
	slices  []winoSlice
	tiles   int // of a batch, at most: whole panels
}

// winoChunk is a range of output blocks.
type winoChunk struct {
	first, blocks int
	weights       [][]float32 // of each slice [64] of packBlocks
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
	winoDepth   = 64
	winoTiles   = 24
	maxWinoSize = 6     // of a tile of outputs
	winoLine    = Lanes // between tiles, so that they do not share cache sets
)

// winogradSuits tells whether the transforms pay for themselves.
func winogradSuits(s ConvShape, o Options) bool {
	return !o.Strict && (s.Kernel == [2]int{3, 3} || s.Kernel == [2]int{5, 5}) && s.Stride == [2]int{1, 1} && s.Dilation == [2]int{1, 1} &&
		s.Groups == 1 && s.In >= 8 && s.Out >= 8
}

func newWinograd(s ConvShape, weights, bias []float32, o Options) *winograd {
	wg := &winograd{shape: s, options: o, size: winoSide + 1 - s.Kernel[0], tiles: winoTiles}
	g := winoG(s.Kernel[0])
	for first := 0; first < s.In; first += winoDepth {
		depth := min(winoDepth, s.In-first)
		wg.slices = append(wg.slices, winoSlice{first, depth, channelSpans(nil, 0, depth, func(block int) int { return block * Lanes })})
	}
	bias = padTo(bias, Blocks(s.Out)*Lanes)
	for first, blocks := range chunksOf(Blocks(s.Out)) {
		c := winoChunk{first: first, blocks: blocks, bias: bias[first*Lanes:][:blocks*Lanes]}
		u := make([][winoPoints]float32, blocks*Lanes*s.In)
		for k := range u {
			if out := first*Lanes + k/s.In; out < s.Out {
				u[k] = winoKernel(&g, weights[(out*s.In+k%s.In)*s.taps():][:s.taps()])
			}
		}
		for _, sl := range wg.slices {
			var packed []float32
			for pos := range winoPoints {
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

func (wg *winograd) run(ctx context.Context, w *Workers, t task) error {
	// Batches of about equal size, equally many for each thread.
	panels := ceilDiv(ceilDiv(t.oh, wg.size)*ceilDiv(t.ow, wg.size), panelPixels)
	batches := min(panels, roundUp(ceilDiv(panels, wg.tiles/panelPixels), w.Threads()))
	return winoJobs.run(ctx, w, t.n*batches, winoJob{wg, t, panels, batches})
}

// winoJob is a run; an item is a batch of tiles.
type winoJob struct {
	*winograd
	task            task
	panels, batches int // of an image
}

var winoJobs = jobs[winoJob]{item: (*winoJob).item}

func (j *winoJob) item(item int, sc *scratch) {
	wg, t, s := j.winograd, &j.task, j.winograd.shape
	across := ceilDiv(t.ow, wg.size)
	tiles := ceilDiv(t.oh, wg.size) * across
	// One chunk of outputs sees its inputs slice by slice; several share the
	// transformed tiles of all.
	inTile := Blocks(min(s.In, winoDepth)) * Lanes
	if len(wg.chunks) > 1 {
		inTile = Blocks(s.In) * Lanes
	}
	outTile := wg.chunks[len(wg.chunks)-1].blocks * Lanes // the last is the biggest
	inPos, outPos := inTile, outTile
	inTile, outTile = winoPoints*inTile+winoLine, winoPoints*outTile+winoLine
	image, batch := item/j.batches, item%j.batches
	first := j.panels * batch / j.batches * panelPixels
	count := j.panels*(batch+1)/j.batches - first/panelPixels
	var list [winoTiles]tileRun
	runs := tileRuns(list[:0], wg.size, first, min(first+count*panelPixels, tiles), across)
	buf := sc.floats(wg.tiles * (inTile + outTile))
	in, out := buf[:wg.tiles*inTile], buf[wg.tiles*inTile:]
	transform := func(sl *winoSlice) []float32 {
		to := in
		if len(wg.chunks) > 1 {
			to = in[sl.first:]
		}
		for b := range Blocks(sl.depth) {
			plane := t.src[(image*Blocks(s.In)+sl.first/Lanes+b)*t.h*t.w*Lanes:][:t.h*t.w*Lanes]
			for _, r := range runs {
				winoInputRun(wg.size, plane, t.h, t.w, r.y-s.Pads[0], r.x-s.Pads[1], r.n, to[r.col*inTile+b*Lanes:], inTile, inPos)
			}
		}
		return to
	}
	if len(wg.chunks) > 1 {
		for i := range wg.slices {
			transform(&wg.slices[i])
		}
	}
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
			for pos := range winoPoints {
				m.a, m.b, m.c = tiles[pos*inPos:], chunk.weights[k][pos*size:][:size], out[pos*outPos:]
				m.multiply()
			}
		}
		for b := range chunk.blocks {
			for _, r := range runs {
				wg.store(sc, t, image, chunk.first+b, r, out[r.col*outTile+b*Lanes:], outTile, outPos, chunk.bias[b*Lanes:])
			}
		}
	}
}

// store transforms the products of one block of outputs for a run of tiles, puts
// the pixels where they belong and executes the tail.
func (wg *winograd) store(sc *scratch, t *task, image, block int, r tileRun, src []float32, tile, pos int, bias []float32) {
	lo, up, size := wg.options.lowest(), wg.options.Upscale, wg.size
	rows, cols := min(size, t.oh-r.y), min(size*r.n, t.ow-r.x)
	number := image*Blocks(wg.shape.Out) + block
	if up == 1 {
		at := ((number*t.oh+r.y)*t.ow + r.x) * Lanes
		dst := t.dst[at:]
		whole := 0
		if rows == size {
			if whole = cols / size; whole > 0 {
				winoOutput(size, whole, src, tile, pos, bias, lo, dst, t.ow*Lanes, Lanes)
			}
		}
		for k := whole; k < r.n; k++ { // tiles that are not all inside
			var window [maxWinoSize * maxWinoSize * Lanes]float32
			winoOutput(size, 1, src[k*tile:], tile, pos, bias, lo, window[:], size*Lanes, Lanes)
			for y := range rows {
				copy(dst[(y*t.ow+size*k)*Lanes:][:min(size, cols-size*k)*Lanes], window[y*size*Lanes:])
			}
		}
		if t.tail != nil {
			for y := range rows {
				t.tail.apply(sc, number, at+y*t.ow*Lanes, cols*Lanes)
			}
		}
		return
	}
	dst := t.dst[upscaledAt(up, image, Blocks(wg.shape.Out), block, t.oh, t.ow, r.y, r.x):]
	if t.tail == nil && rows == size && cols == size*r.n {
		winoOutput(size, r.n, src, tile, pos, bias, lo, dst, up*t.ow*up*Lanes, up*Lanes)
		return
	}
	window := sc.more(size * size * winoTiles * Lanes)
	width := size * r.n * Lanes
	winoOutput(size, r.n, src, tile, pos, bias, lo, window, width, Lanes)
	for y := range rows {
		line := window[y*width:][:cols*Lanes]
		if t.tail != nil {
			t.tail.applyTo(sc, line, nil, number, 0, len(line))
		}
		spread(dst[y*up*t.ow*up*Lanes:], line, up)
	}
}

// tileRun are n tiles beside each other: their outputs start at (y, x), the
// first is number col of the batch.
type tileRun struct{ col, y, x, n int }

// tileRuns appends the runs of the tiles [first, last) of an image with so many
// tiles of that size across.
func tileRuns(runs []tileRun, size, first, last, across int) []tileRun {
	for t := first; t < last; {
		n := min(across-t%across, last-t)
		runs = append(runs, tileRun{t - first, t / across * size, t % across * size, n})
		t += n
	}
	return runs
}

// winoInputRun transforms n tiles of one block, whose outputs are of that size, from
// (y, x) on; outside of the plane is zero.
func winoInputRun(size int, plane []float32, h, w, y, x, n int, dst []float32, tile, pos int) {
	const side = winoSide
	for k := 0; k < n; {
		left := x + size*k
		if y >= 0 && y+side <= h && left >= 0 && left+side <= w {
			whole := min(n-k, (w-side-left)/size+1)
			winoInput(whole, plane[(y*w+left)*Lanes:], w*Lanes, size*Lanes, dst[k*tile:], tile, pos)
			k += whole
			continue
		}
		var window [winoPoints * Lanes]float32
		if from, to := max(0, -left), min(side, w-left); from < to {
			for r := max(0, -y); r < min(side, h-y); r++ {
				copy(window[(r*side+from)*Lanes:][:(to-from)*Lanes], plane[((y+r)*w+left+from)*Lanes:])
			}
		}
		winoInput(1, window[:], side*Lanes, 0, dst[k*tile:], tile, pos)
		k++
	}
}
