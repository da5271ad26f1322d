package kernels

import (
	"context"
	"fmt"
	"math"
)

// CodesConv is a convolution of codes by whole weights, exact until the last step:
//
//	y = scale[o] * (sum of weights * (code - Zero)) + bias[o]
//
// where code - Zero is 0 outside of the image. 3x3 is Winograd's F(4,3) in 16 bits:
// the transforms of inputs and weights are whole numbers, and so is that of the
// products, modulo 2^32. What comes out does not depend on tiles or threads.
type CodesConv struct {
	shape       ConvShape
	inputs      int    // channels, whole blocks
	outputs     int    // channels, whole blocks
	points      int    // products for each pair of channels and tile: 36, or 1
	depth       int    // inputs at a time
	weights     []byte // words, of each chunk of outputs, of each depth inputs [point][output block][input pair][16][2]
	scale, bias []float32
	zero        int
	lo          float32
	upscale     int
}

// codesChunk is the number of output blocks whose products are in cache at a time.
const codesChunk = 4

// CodesSuits tells whether there is a CodesConv of a shape for weights [Out, In, kH,
// kW] between -255 and 255: 3x3 that keeps the size of the image, and 1x1, with sums
// that stay in range.
func CodesSuits(s ConvShape, weights []int16, q Quantizer) bool {
	s.setDefaults()
	if !IntSuits(s) || !q.Valid() || len(weights) != s.Out*s.In*s.taps() {
		return false
	}
	most, far := math.MaxInt32, max(q.Zero, q.Top-q.Zero)
	if s.taps() == 9 {
		most /= 64 // codesOutput
	}
	for o := range s.Out {
		sum := 0
		for _, w := range weights[o*s.In*s.taps():][:s.In*s.taps()] {
			if w < -255 || w > 255 {
				return false
			}
			sum += max(int(w), -int(w))
		}
		if sum*far > most {
			return false
		}
	}
	return true
}

// NewCodesConv packs weights for codes of q; scale has one entry for each output,
// bias too unless nil. Options may have Relu, and Upscale for outputs of whole blocks.
func NewCodesConv(s ConvShape, weights []int16, scale, bias []float32, q Quantizer, o Options) (*CodesConv, error) {
	s.setDefaults()
	s.OutputPadding = [2]int{}
	if !CodesSuits(s, weights, q) || len(scale) != s.Out || bias != nil && len(bias) != s.Out {
		return nil, fmt.Errorf("kernels: no convolution of codes of this shape, with %d weights, %d scales and %d biases", len(weights), len(scale), len(bias))
	}
	c := &CodesConv{shape: s, inputs: roundUp(s.In, Lanes), outputs: roundUp(s.Out, Lanes), points: 1, zero: q.Zero, lo: o.lowest(), upscale: max(o.Upscale, 1)}
	if c.upscale > 1 && s.Out%(c.upscale*c.upscale*Lanes) != 0 {
		return nil, fmt.Errorf("kernels: convolution: %d outputs cannot be stored upscaled by %d", s.Out, c.upscale)
	}
	c.scale, c.bias = padTo(scale, c.outputs), padTo(bias, c.outputs)
	c.depth = min(c.inputs, 4*intDepth)
	if s.taps() == 9 {
		c.points, c.depth = 36, min(c.inputs, intDepth)
	}
	c.weights = asBytes(make([]int32, c.points*c.inputs*c.outputs/2)) // aligned
	for o := range s.Out {
		for i := range s.In {
			c.pack(o, i, weights[(o*s.In+i)*s.taps():][:s.taps()])
		}
	}
	return c, nil
}

// pack puts the weights of input i and output o where Run reads them.
func (c *CodesConv) pack(o, i int, taps []int16) {
	first := o / (codesChunk * Lanes) * codesChunk
	blocks := min(codesChunk, c.outputs/Lanes-first)
	k := i / c.depth * c.depth
	n := min(c.depth, c.inputs-k)
	to := asWords(c.weights)[c.points*Lanes*(first*c.inputs+k*blocks):]
	at := ((o/Lanes-first)*n/2+(i-k)/2)*2*Lanes + o%Lanes*2 + i%2
	if c.points == 1 {
		to[at] = taps[0]
		return
	}
	var half [6][3]int
	for x := range 3 {
		for y, v := range codesWinoG([3]int{int(taps[x]), int(taps[3+x]), int(taps[6+x])}) {
			half[y][x] = v
		}
	}
	for y := range 6 {
		for x, v := range codesWinoG(half[y]) {
			to[(y*6+x)*n*blocks*Lanes+at] = int16(v)
		}
	}
}

// Run convolves n images of codes [n, In, h, wd] into dst [n, Out, h, wd], both
// blocked. With Upscale channels are stored as Options say. A tail, unless nil, is
// executed on the outputs while they are in cache; its tensor 0 and its planes are
// those of dst, with Upscale it has no others. When its last step is Encode, its
// Codes[0] takes the place of dst.
func (c *CodesConv) Run(ctx context.Context, w *Workers, dst []float32, src []uint8, n, h, wd int, tail *ChainRun) error {
	t := codesTask{CodesConv: c, dst: dst, src: src, n: n, h: h, wd: wd, tail: tail}
	length := len(dst)
	if tail.encodes() {
		length = len(tail.Codes[0])
	}
	if size := n * h * wd; len(src) < c.inputs*size || length < c.outputs*size {
		return fmt.Errorf("kernels: %d and %d elements for %d images of %dx%d pixels and %d and %d channels", len(src), length, n, h, wd, c.inputs, c.outputs)
	}
	if n == 0 || h == 0 || wd == 0 {
		return ctx.Err()
	}
	switch {
	case c.points > 1:
		t.parts = newRegions(ceilDiv(h, 4), ceilDiv(wd, 4), intTiles)
		return codesWinograd.run(ctx, w, n*t.parts.count(), t)
	case c.upscale > 1: // a row is stored apart from the next
		t.row = ceilDiv(wd, intPixels)
		return codesPointwise.run(ctx, w, n*h*t.row, t)
	}
	t.h, t.wd, t.row = 1, h*wd, ceilDiv(h*wd, intPixels)
	return codesPointwise.run(ctx, w, n*t.row, t)
}

type codesTask struct {
	*CodesConv
	dst   []float32
	src   []uint8
	n     int
	h, wd int
	tail  *ChainRun
	parts regions // of an image, of winograd
	row   int     // pieces of a row, of pointwise
}

var (
	codesWinograd  = jobs[codesTask]{item: (*codesTask).winograd}
	codesPointwise = jobs[codesTask]{item: (*codesTask).pointwise}
)

// chunk is a range of output blocks and their weights.
func (t *codesTask) chunk(first int) (blocks int, weights []byte) {
	blocks = min(codesChunk, t.outputs/Lanes-first)
	each := 2 * t.points * Lanes * t.inputs
	return blocks, t.weights[first*each:][:blocks*each]
}

// noSums is where sums start.
var noSums [codesChunk * Lanes]int32

func startOf(k int) []int32 {
	if k > 0 {
		return nil
	}
	return noSums[:]
}

// winograd convolves part i of all images.
func (t *codesTask) winograd(i int, sc *scratch) {
	parts := t.parts
	room := roundUp(parts.rows*parts.cols, 2)
	pixels := (4*parts.rows + 2) * (4*parts.cols + 2)
	wide := min(t.outputs, codesChunk*Lanes)
	inPoint, outPoint := 2*room*t.depth+line, room*wide+line/4
	pitch := 4 * parts.cols * Lanes
	image, part := i/parts.count(), parts.at(i%parts.count())
	buf := sc.floats(pixels*t.depth/2 + 36*inPoint/4 + 36*outPoint + 4*parts.rows*pitch)
	codes, buf := asBytes(buf[:pixels*t.depth/2]), buf[pixels*t.depth/2:]
	in, buf := asBytes(buf[:36*inPoint/4]), buf[36*inPoint/4:]
	sums, rows := asInt32(buf[:36*outPoint]), buf[36*outPoint:]
	tiles := part.rows * part.cols
	transformed := -1 // the inputs that in holds
	for first := 0; first < t.outputs/Lanes; first += codesChunk {
		blocks, weights := t.chunk(first)
		for k := 0; k < t.inputs; k += t.depth {
			n := min(t.depth, t.inputs-k)
			if transformed != k {
				t.transform(in, inPoint, codes, image, part, k, n)
				transformed = k
			}
			for p := range 36 {
				wordForm.multiply(tiles, blocks, n/2, in[p*inPoint:], 2*n, weights[2*(36*k+p*n)*blocks*Lanes:], startOf(k), sums[p*outPoint:], wide)
			}
		}
		for b := range blocks {
			o := (first + b) * Lanes
			for y := range part.rows {
				codesOutput(part.cols, sums[y*part.cols*wide+b*Lanes:], wide, outPoint, t.scale[o:], t.bias[o:], t.lo, rows[4*y*pitch:], pitch)
			}
			x := 4 * part.x
			for y := 4 * part.y; y < min(4*(part.y+part.rows), t.h); y++ {
				t.store(sc, rows[(y-4*part.y)*pitch:][:min(4*part.cols, t.wd-x)*Lanes], image, first+b, y, x)
			}
		}
	}
}

// transform brings n inputs from k on of the pixels that a part reads into in.
func (t *codesTask) transform(in []byte, point int, codes []byte, image int, part region, k, n int) {
	part.read(codes, 2*n, t.h, t.wd, func(line []byte, y, x, pixels int) {
		for b := 0; b < n; b += Lanes {
			plane := image*t.inputs/Lanes + (k+b)/Lanes
			widenCodes(pixels, asWords(line[2*b:]), n, t.src[((plane*t.h+y)*t.wd+x)*Lanes:], t.zero)
		}
	})
	wordForm.transform(in, point, codes, n, 2*n, part)
}

// store executes the tail on the outputs of one block for neighbouring pixels and
// puts them where they belong.
func (t *codesTask) store(sc *scratch, line []float32, image, block, y, x int) {
	number := image*t.outputs/Lanes + block
	if t.upscale == 1 {
		at := ((number*t.h+y)*t.wd + x) * Lanes
		if t.tail != nil {
			t.tail.applyTo(sc, line, nil, number, at, len(line))
		}
		if !t.tail.encodes() {
			copy(t.dst[at:], line)
		}
		return
	}
	up := t.upscale
	at := upscaledAt(up, image, t.outputs/Lanes, block, t.h, t.wd, y, x)
	if !t.tail.encodes() {
		if t.tail != nil {
			t.tail.applyTo(sc, line, nil, number, 0, len(line))
		}
		spread(t.dst[at:], line, up)
		return
	}
	codes := asBytes(sc.more(len(line) / 4))
	t.tail.applyTo(sc, line, codes, number, 0, len(line))
	spread(t.tail.Codes[0][at:], codes[:len(line)], up)
}

// pointwise multiplies codes as they are, for piece i of the rows of all images: a 1x1
// convolution.
func (t *codesTask) pointwise(i int, sc *scratch) {
	image, y, x := i/t.row/t.h, i/t.row%t.h, i%t.row*intPixels
	pixels := min(intPixels, t.wd-x)
	room := roundUp(pixels, 2)
	wide := min(t.outputs, codesChunk*Lanes)
	buf := sc.floats(room*t.inputs/2 + room*wide + pixels*Lanes)
	codes, buf := asBytes(buf[:room*t.inputs/2]), buf[room*t.inputs/2:]
	sums, line := asInt32(buf[:room*wide]), buf[room*wide:]
	for k := 0; k < t.inputs; k += t.depth {
		n := min(t.depth, t.inputs-k)
		for b := 0; b < n; b += Lanes {
			plane := image*t.inputs/Lanes + (k+b)/Lanes
			widenCodes(pixels, asWords(codes[2*(k*room+b):]), n, t.src[((plane*t.h+y)*t.wd+x)*Lanes:], t.zero)
		}
	}
	for first := 0; first < t.outputs/Lanes; first += codesChunk {
		blocks, weights := t.chunk(first)
		for k := 0; k < t.inputs; k += t.depth {
			n := min(t.depth, t.inputs-k)
			wordForm.multiply(pixels, blocks, n/2, codes[2*k*room:], 2*n, weights[2*k*blocks*Lanes:], startOf(k), sums, wide)
		}
		for b := range blocks {
			o := (first + b) * Lanes
			intStore(pixels, sums[b*Lanes:], wide, t.scale[o:], t.bias[o:], t.lo, line)
			t.store(sc, line[:pixels*Lanes], image, first+b, y, x)
		}
	}
}
