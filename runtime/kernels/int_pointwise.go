package kernels

// intPixels is the number of pixels of an item of pointwise.
const intPixels = 96

// bytePanelAhead multiplies intPixels pixels, of so many inputs, by so many blocks of
// outputs: wide layers, whose inputs no cache holds.
const (
	aheadInputs = 4 * intDepth
	aheadBlocks = 4
)

// pointwise multiplies codes of a piece of the image as they are: a 1x1 convolution.
func (j *intJob) pointwise(item int, sc *scratch) {
	c, f, size := j.IntConv, j.f, j.h*j.wd
	blocks, pixel := c.outputs/Lanes, c.depth*c.form.size
	at := item * intPixels
	pixels := min(intPixels, size-at)
	room := roundUp(pixels, 2)
	buf := sc.floats(room * (pixel/4 + c.outputs))
	codes, sums := asBytes(buf[:room*pixel/4]), asInt32(buf[room*pixel/4:])
	for k := 0; k < c.inputs; k += c.depth {
		n := min(c.depth, c.inputs-k)
		block := k / Lanes
		c.form.encode(pixels, codes, pixel, j.src[(block*size+at)*Lanes:], size*Lanes, f.encodings[block:][:n/Lanes])
		start := f.start
		if k > 0 {
			start = nil
		}
		next, from := at, k+n // what is encoded next
		if from == c.inputs {
			next, from = at+intPixels, 0
		}
		if c.form == &byteForm && blocks == aheadBlocks && n == aheadInputs && pixels == intPixels && next < size {
			bytePanelAhead(codes, f.weights[k*c.outputs:], start, sums, j.src[(from/Lanes*size+next)*Lanes:], size*Lanes)
			continue
		}
		c.form.multiply(pixels, blocks, n*c.form.size/4, codes, pixel, f.weights[k*c.outputs*c.form.size:], start, sums, c.outputs)
	}
	for b := range blocks {
		intStore(pixels, sums[b*Lanes:], c.outputs, f.scale[b*Lanes:], f.bias[b*Lanes:], c.lo, j.dst[(b*size+at)*Lanes:])
		if j.tail != nil {
			j.tail.apply(sc, j.first+b, ((j.first+b)*size+at)*Lanes, pixels*Lanes)
		}
		if j.moments != nil {
			j.moments.add(item, b, 1, pixels, j.dst[(b*size+at)*Lanes:], 0)
		}
	}
}
