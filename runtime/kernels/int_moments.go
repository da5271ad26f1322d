package kernels

import "context"

// Moments are the number, the mean, and the sum of squared deviations of the values of
// one channel above a floor, and the sum of all others.
type Moments struct{ Count, Mean, Squares, Rest float64 }

// leastShare keeps channels without a value above the floor from dividing by zero.
const leastShare = 1e-12

// MeanVariance returns the sum of all values, of so many, over the number of those
// above the floor, and their mean squared distance from that. It is their mean and
// variance unless others are not zero.
func (m *Moments) MeanVariance(values int) (mean, variance float32) {
	n := max(m.Count, leastShare*float64(values))
	center := (m.Mean*m.Count + m.Rest) / n
	d := center - m.Mean
	return float32(center), float32((m.Squares + d*d*m.Count) / n)
}

// Average returns the mean of all values, of so many.
func (m *Moments) Average(values int) float32 {
	return float32((m.Mean*m.Count + m.Rest) / float64(max(values, 1)))
}

// momentPixels is the number of pixels of an item of ChannelMoments, which are added in
// float32 relative to the first of them.
const momentPixels = 256

// partMoments are sums over a part of one block (momentsGo).
type partMoments struct {
	pivot [Lanes]float32
	sums  [4][Lanes]float32
}

func (p *partMoments) set(lines, pixels int, src []float32, line int, floor *[Lanes]float32) {
	p.pivot = [Lanes]float32(src)
	momentsOf(lines, pixels, src, line, floor, &p.pivot, &p.sums)
}

// merge sets m to the moments of a lane over parts, which are step apart, in their
// order.
func (m *Moments) merge(parts []partMoments, step, lane int) {
	var n, sum, squares, rest float64
	pivot := float64(parts[0].pivot[lane])
	for i := 0; i < len(parts); i += step {
		p := &parts[i]
		count, s := float64(p.sums[0][lane]), float64(p.sums[1][lane])
		d := float64(p.pivot[lane]) - pivot
		n += count
		sum += s + count*d
		squares += float64(p.sums[2][lane]) + (2*s+count*d)*d
		rest += float64(p.sums[3][lane])
	}
	*m = Moments{Rest: rest}
	if n > 0 {
		m.Count, m.Mean, m.Squares = n, pivot+sum/n, max(squares-sum*sum/n, 0)
	}
}

// ChannelMoments returns the moments of each channel of one blocked image, over
// the values above floor, which has one entry for all channels or one for each. They
// do not depend on the number of threads.
func ChannelMoments(ctx context.Context, w *Workers, dst []Moments, src []float32, size int, floor []float32) error {
	b := momentJobs.take()
	defer momentJobs.put(b)
	j := &b.state
	j.src, j.size = src, size
	j.setFloor(floor, len(dst))
	j.start(ceilDiv(size, momentPixels), Blocks(len(dst)))
	err := w.each(ctx, len(j.parts), b.each)
	j.src = nil
	if err != nil {
		return err
	}
	j.Moments(dst)
	return nil
}

// momentJob adds up pieces of blocks.
type momentJob struct {
	OutputMoments
	src  []float32
	size int
}

var momentJobs = jobs[momentJob]{item: (*momentJob).item}

func (j *momentJob) item(i int, _ *scratch) {
	at, block := i/j.blocks*momentPixels, i%j.blocks
	j.add(i/j.blocks, block, 1, min(momentPixels, j.size-at), j.src[(block*j.size+at)*Lanes:], 0)
}

// OutputMoments gathers the moments of the outputs of a convolution, over the values
// above a floor, while they are in cache. They do not depend on the number of threads.
type OutputMoments struct {
	floors []float32 // whole blocks
	blocks int
	parts  []partMoments // [item][block]
}

// NewOutputMoments returns moments of channels over a floor, one for all or one for
// each.
func NewOutputMoments(floor []float32, channels int) *OutputMoments {
	m := new(OutputMoments)
	m.setFloor(floor, channels)
	return m
}

func (m *OutputMoments) setFloor(floor []float32, channels int) {
	m.floors = resized(m.floors, roundUp(channels, Lanes))
	clear(m.floors[copy(m.floors, floor):])
	if len(floor) == 1 {
		fill(m.floors, floor[0])
	}
}

// start makes room for the items of an image.
func (m *OutputMoments) start(items, blocks int) {
	if m != nil {
		m.blocks, m.parts = blocks, resized(m.parts, items*blocks)
	}
}

// add sets the part of an item and a block.
func (m *OutputMoments) add(item, block, lines, pixels int, src []float32, line int) {
	m.parts[item*m.blocks+block].set(lines, pixels, src, line, (*[Lanes]float32)(m.floors[block*Lanes:]))
}

// Moments sets dst to the moments of each channel of the image that was convolved
// last.
func (m *OutputMoments) Moments(dst []Moments) {
	for c := range dst {
		dst[c].merge(m.parts[c/Lanes:], m.blocks, c%Lanes)
	}
}

// requantizePixels is the number of pixels of an item of Requantize, requantizeCodes
// how many are codes at a time.
const requantizePixels, requantizeCodes = 2048, 128

// Requantize replaces every value of one blocked image by that of its code, as
// IntConv sees it: dst and src may be the same.
func Requantize(ctx context.Context, w *Workers, dst, src []float32, size int, win Windows, levels []int) error {
	blocks, pieces := Blocks(len(levels)), ceilDiv(size, requantizePixels)
	return w.For(ctx, blocks*pieces, func(i, _ int) {
		at, block := i%pieces*requantizePixels, i/pieces
		var e encoding
		var scale, offset [Lanes]float32
		for l := range min(Lanes, len(levels)-block*Lanes) {
			c := block*Lanes + l
			scale[l], offset[l] = win.Scale[c], win.Offset[c]
			e.set(l, scale[l], offset[l], levels[c], 0, 0)
		}
		var codes [requantizeCodes * Lanes]int32
		for p := at; p < min(at+requantizePixels, size); p += requantizeCodes {
			n := min(requantizeCodes, min(at+requantizePixels, size)-p)
			first := (block*size + p) * Lanes
			encodeWords(n, asBytes(codes[:]), 2*Lanes, src[first:], 0, []encoding{e})
			for j, code := range asWords(asBytes(codes[:]))[:n*Lanes] {
				dst[first+j] = float32(float32(code)*scale[j%Lanes]) + offset[j%Lanes]
			}
		}
	})
}
