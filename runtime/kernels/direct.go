package kernels

import (
	"cmp"
	"context"
	"slices"
)

// direct sums the products of the definition: for panels of output pixels in one
// row and chunks of output blocks, the weights of every tap and channel times the
// pixels that the taps see. Panels whose windows lie in the image read it as it
// is; others read a frame, a copy of their windows with zeros around. Rows of the
// window outside of the image are left out.
//
// A transposed convolution is one of these for each of its phases: the outputs
// stride apart see the same taps.
type direct struct {
	in, out     int
	stride      [2]int // of the input, from one output pixel to the next
	step, first [2]int // output pixel j of an axis is number j*step+first of all
	taps        []tap  // ascending by row
	rows        []int  // different dy of taps
	left, right int    // least and largest dx
	chunks      []directChunk
	lanewise    bool // every output channel sees the input channel of its number alone
	planes      bool // the outputs, few, are planes
	lo          float32
}

// tap is a place in the window: the input pixel dy rows and dx columns from the
// first one, and which weight it is.
type tap struct{ dy, dx, number int }

// directChunk is a range of output blocks, and the input channels that they see.
type directChunk struct {
	first, blocks int
	from, to      int       // input channels
	weights       []float32 // packBlocks of [taps][channels], lanewise [taps][16], of planes [taps][blocks][outputs][16]
	bias          []float32
}

func newDirectConv(s ConvShape, weights, bias []float32, lo float32) *direct {
	var taps []tap
	for k := range s.taps() {
		taps = append(taps, tap{k/s.Kernel[1]*s.Dilation[0] - s.Pads[0], k%s.Kernel[1]*s.Dilation[1] - s.Pads[1], k})
	}
	in, size := s.In/s.Groups, s.taps()
	d := newDirect(s, taps, bias, lo, s.PlanarOutput(), func(o, c, k int) float32 { return weights[(o*in+c)*size+k] })
	d.stride = s.Stride
	return d
}

// newDirect packs weight(o, c, k) of output channel o, input channel c of its
// group and tap number k.
func newDirect(s ConvShape, taps []tap, bias []float32, lo float32, planes bool, weight func(o, c, k int) float32) *direct {
	d := &direct{in: s.In, out: s.Out, stride: [2]int{1, 1}, step: [2]int{1, 1}, taps: taps, lo: lo, planes: planes}
	slices.SortStableFunc(taps, func(a, b tap) int { return cmp.Compare(a.dy, b.dy) })
	for i, t := range taps {
		if i == 0 || t.dy != taps[i-1].dy {
			d.rows = append(d.rows, t.dy)
		}
		if i == 0 {
			d.left, d.right = t.dx, t.dx
		}
		d.left, d.right = min(d.left, t.dx), max(d.right, t.dx)
	}
	bias = padTo(bias, Blocks(s.Out)*Lanes)
	in, out := s.In/s.Groups, s.Out/s.Groups
	d.lanewise = in == 1 && out == 1 && !s.PlanarInput()
	// channels of the groups that so many blocks belong to
	channels := func(first, blocks int) (from, to int) {
		last := min(s.Out, (first+blocks)*Lanes) - 1
		return first * Lanes / out * in, (last/out + 1) * in
	}
	add := func(first, blocks int) {
		c := directChunk{first: first, blocks: blocks, bias: bias[first*Lanes:][:blocks*Lanes]}
		c.from, c.to = channels(first, blocks)
		of := func(o, k int) float32 {
			o += first * Lanes
			channel := c.from + k%(c.to-c.from)
			if o >= s.Out || channel/in != o/out {
				return 0
			}
			return weight(o, channel%in, taps[k/(c.to-c.from)].number)
		}
		switch {
		case d.planes:
			for k := range len(taps) * Blocks(s.In) * s.Out * Lanes {
				tap, block, o, l := k/Lanes/s.Out/Blocks(s.In), k/Lanes/s.Out%Blocks(s.In), k/Lanes%s.Out, k%Lanes
				v := float32(0)
				if c := block*Lanes + l; c < s.In {
					v = weight(o, c, taps[tap].number)
				}
				c.weights = append(c.weights, v)
			}
		case d.lanewise:
			for k := range taps {
				for l := range Lanes {
					v := float32(0)
					if o := first*Lanes + l; o < s.Out {
						v = weight(o, 0, taps[k].number)
					}
					c.weights = append(c.weights, v)
				}
			}
		default:
			c.weights = packBlocks(blocks, len(taps)*(c.to-c.from), of)
		}
		d.chunks = append(d.chunks, c)
	}
	switch {
	case d.lanewise:
		for b := range Blocks(s.Out) {
			add(b, 1)
		}
	case s.Groups == 1:
		chunksOf(Blocks(s.Out))(func(first, n int) bool { add(first, n); return true })
	default:
		for first := 0; first < Blocks(s.Out); {
			// More blocks as long as they see the same channels.
			n, all := 1, Blocks(s.Out)-first
			from, to := channels(first, 1)
			for n < min(maxChunk, all) {
				if f, t := channels(first, n+1); f != from || t != to {
					break
				}
				n++
			}
			add(first, n)
			first += n
		}
	}
	return d
}

// spans appends those of all taps for the channels of a chunk, where blocks (or
// planar channels) and rows are so many elements apart; rows are the only ones that
// there are, unless nil.
func (d *direct) spans(list []span, c *directChunk, planar bool, plane, row int, rows []int) []span {
	for _, t := range d.taps {
		dy := t.dy
		if rows != nil {
			dy = slices.Index(rows, dy)
		}
		pixel := dy*row + t.dx
		switch {
		case d.lanewise:
			list = append(list, span{4 * (c.first*plane + pixel) * Lanes, Lanes})
		case planar:
			for ch := c.from; ch < c.to; ch++ {
				list = append(list, span{4 * (ch*plane + pixel), 1})
			}
		default:
			list = channelSpans(list, c.from, c.to, func(b int) int { return (b*plane + pixel) * Lanes })
		}
	}
	return list
}

// directWork is about how many multiplications an item has.
const directWork = 1 << 21

func (d *direct) run(ctx context.Context, w *Workers, t task) error {
	gh, gw := ceilDiv(t.oh-d.first[0], d.step[0]), ceilDiv(t.ow-d.first[1], d.step[1])
	if gh <= 0 || gw <= 0 {
		return ctx.Err()
	}
	h, wd := t.h, t.w
	if len(d.taps) == 1 && d.taps[0] == (tap{}) && d.stride == [2]int{1, 1} && d.step == [2]int{1, 1} {
		h, wd, gh, gw = 1, h*wd, 1, gh*gw // rows do not matter
		t.oh, t.ow = 1, t.oh*t.ow
	}
	b := directJobs.take()
	defer directJobs.put(b)
	f := d.newFrame(t.planar)
	list, starts := b.state.list[:0], append(b.state.starts[:0], 0)
	for i := range d.chunks {
		c := &d.chunks[i]
		list = d.spans(list, c, t.planar, h*wd, wd, nil)
		list = d.spans(list, c, t.planar, len(d.rows)*f.width, f.width, d.rows)
		starts = append(starts, len(list))
	}
	cost := 0
	for _, c := range d.chunks {
		switch each := len(d.taps) * (c.to - c.from); {
		case d.planes:
			cost += d.out * each
		case d.lanewise:
			cost += (Lanes + 8) * len(d.taps)
		default:
			cost += c.blocks * each * Lanes
		}
	}
	segment := min(gw, max(8*panelPixels, roundUp(directWork/max(cost, 1), 2*panelPixels)))
	segments := ceilDiv(gw, segment)
	some := 1
	if segments == 1 {
		some = min(gh, max(1, directWork/max(cost*gw, 1)))
	}
	b.state = directJob{direct: d, task: t, frame: f, starts: starts, list: list, h: h, wd: wd, gh: gh, gw: gw, some: some, segment: segment}
	err := w.each(ctx, t.n*ceilDiv(gh, some)*segments, b.each)
	b.state = directJob{starts: starts, list: list}
	return err
}

// directJob is a run; an item is a segment of some rows of the grid, which has gh x gw
// pixels.
type directJob struct {
	*direct
	task  task
	frame directFrame
	// starts are where in list the spans of each chunk begin; those of the frame follow
	// those of the image.
	starts        []int
	list          []span
	h, wd         int
	gh, gw        int
	some, segment int
}

var directJobs = jobs[directJob]{item: (*directJob).item}

func (j *directJob) item(item int, sc *scratch) {
	d, t := j.direct, &j.task
	strips, segments := ceilDiv(j.gh, j.some), ceilDiv(j.gw, j.segment)
	image, y0, x0 := item/segments/strips, item/segments%strips*j.some, item%segments*j.segment
	pixel, size := Lanes, Blocks(d.in)*j.h*j.wd*Lanes
	if t.planar {
		pixel, size = 1, d.in*j.h*j.wd
	}
	p := directPanels{directJob: j, image: image, src: t.src[image*size:][:size], pixel: pixel}
	p.buffer = sc.floats(j.frame.size + maxChunk*panelPixels*Lanes)
	x1 := min(j.gw, x0+j.segment)
	// Panels from inside to outside read the image.
	inside := max(x0, roundUp(max(0, ceilDiv(-d.left, d.stride[1]))-x0, panelPixels)+x0)
	outside := min(x1, (j.wd-1-d.right)/d.stride[1]+1)
	if j.wd-1-d.right < 0 {
		outside = 0
	}
	for y := y0; y < min(j.gh, y0+j.some); y++ {
		p.y = y
		p.lo, p.hi = d.inside(y*d.stride[0], j.h)
		x := x0
		for x < x1 {
			if count := (outside - x) / panelPixels; x >= inside && count > 0 {
				p.read(x, count)
				x += count * panelPixels
				continue
			}
			p.readFrame(x, min(panelPixels, x1-x))
			x += panelPixels
		}
		if t.tail != nil {
			lanes := d.outLanes()
			for b := range d.outPlanes() {
				number := image*d.outPlanes() + b
				t.tail.apply(sc, number, ((number*t.oh+y)*t.ow+x0)*lanes, (x1-x0)*lanes)
			}
		}
	}
}

// outLanes is the number of elements of an output pixel, of which an image has
// outPlanes planes.
func (d *direct) outLanes() int {
	if d.planes {
		return 1
	}
	return Lanes
}

func (d *direct) outPlanes() int { return ceilDiv(d.out, d.outLanes()) }

// inside returns the range of taps whose rows exist for windows that begin at
// row y.
func (d *direct) inside(y, h int) (lo, hi int) {
	lo, hi = 0, len(d.taps)
	for lo < hi && y+d.taps[lo].dy < 0 {
		lo++
	}
	for lo < hi && y+d.taps[hi-1].dy >= h {
		hi--
	}
	return lo, hi
}

// directFrame is the geometry of a frame [blocks or channels][rows][width].
type directFrame struct {
	width, planes, pixel, size int
}

func (d *direct) newFrame(planar bool) directFrame {
	f := directFrame{width: (panelPixels-1)*d.stride[1] + d.right - d.left + 1, planes: Blocks(d.in), pixel: Lanes}
	if planar {
		f.planes, f.pixel = d.in, 1
	}
	f.size = f.planes * len(d.rows) * f.width * f.pixel
	return f
}

// directPanels computes panels of one output row.
type directPanels struct {
	*directJob
	image  int
	src    []float32
	pixel  int // elements of a pixel of src
	y      int // row of the grid
	lo, hi int // range of taps
	buffer []float32
}

// chunk calls a micro-kernel for one chunk of outputs.
func (p *directPanels) chunk(i int, m *panels, inFrame bool) {
	c := &p.chunks[i]
	list := p.list[p.starts[i]:p.starts[i+1]]
	if half := len(list) / 2; inFrame {
		list = list[half:]
	} else {
		list = list[:half]
	}
	channels, each := c.to-c.from, 0
	if len(p.taps) > 0 {
		each = len(list) / len(p.taps)
	}
	m.spans, m.start, m.lo, m.blocks = list[p.lo*each:p.hi*each], c.bias, p.direct.lo, c.blocks
	switch {
	case p.planes:
		m.b = c.weights[p.lo*each*p.out*Lanes:]
		m.dots(p.out)
		return
	case p.lanewise:
		m.b = c.weights[p.lo*Lanes:]
		m.lanewise()
		return
	}
	m.depth = len(p.taps) * channels
	m.b = c.weights[min(len(c.weights), packedAt(c.blocks, p.lo*channels)):]
	m.multiply()
}

// output is where the grid's pixel x of a block or plane is.
func (p *directPanels) output(plane, x int) int {
	t := &p.task
	row := (p.image*p.outPlanes()+plane)*t.oh + p.y*p.step[0] + p.first[0]
	return (row*t.ow + x*p.step[1] + p.first[1]) * p.outLanes()
}

// read computes panels from x on whose windows lie in the image.
func (p *directPanels) read(x, count int) {
	m := panels{count: count, a: p.src, at: (p.y*p.stride[0]*p.wd + x*p.stride[1]) * p.pixel, pixel: p.stride[1] * p.pixel,
		cPixel: p.step[1] * p.outLanes(), cBlock: p.task.oh * p.task.ow * p.outLanes()}
	for i := range p.chunks {
		m.c = p.task.dst[p.output(p.chunks[i].first, x):]
		p.chunk(i, &m, false)
	}
}

// readFrame computes n pixels from x on by way of a frame.
func (p *directPanels) readFrame(x, n int) {
	f := p.frame
	buf, sums := p.buffer[:f.size], p.buffer[f.size:]
	first := x*p.stride[1] + p.left
	from, to := max(0, -first), min(f.width, p.wd-first)
	for r, dy := range p.rows {
		y := p.y*p.stride[0] + dy
		if y < 0 || y >= p.h {
			continue // is not read
		}
		for b := range f.planes {
			line := buf[(b*len(p.rows)+r)*f.width*f.pixel:][:f.width*f.pixel]
			if from >= to {
				clear(line)
				continue
			}
			clear(line[:from*f.pixel])
			copy(line[from*f.pixel:to*f.pixel], p.src[((b*p.h+y)*p.wd+first+from)*f.pixel:])
			clear(line[to*f.pixel:])
		}
	}
	lanes := p.outLanes()
	m := panels{count: 1, a: buf, at: -p.left * p.pixel, pixel: p.stride[1] * p.pixel,
		c: sums, cPixel: lanes, cBlock: panelPixels * lanes}
	if f.size == 0 { // no taps: the bias alone
		m.a = sums
	}
	for i, c := range p.chunks {
		p.chunk(i, &m, true)
		planes := c.blocks
		if p.planes {
			planes = p.out
		}
		for b := range planes {
			for k := range n {
				copy(p.task.dst[p.output(c.first+b, x+k):][:lanes], sums[(b*panelPixels+k)*lanes:])
			}
		}
	}
}
