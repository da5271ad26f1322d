package kernels

import "context"

// few is a convolution of stride 1 with a few outputs, which are planes: pixels
// are lanes, so that none is wasted. The input of a piece of the image is copied
// to planes with its padding first.
type few struct {
	shape   ConvShape
	weights []float32 // [channels][taps][outputs]
	bias    []float32
	lo      float32
}

func newFewConv(s ConvShape, weights, bias []float32, lo float32) *few {
	f := &few{shape: s, bias: padTo(bias, s.Out), lo: lo}
	depth := s.In * s.taps()
	for k := range depth {
		for o := range s.Out {
			f.weights = append(f.weights, weights[o*depth+k])
		}
	}
	return f
}

const (
	fewColumns = 128     // output columns of a piece
	fewFrame   = 1 << 17 // elements of the copied input
)

func (f *few) run(ctx context.Context, w *Workers, t task) error {
	s := f.shape
	cols := min(roundUp(t.ow, fewPixels()), fewColumns)
	pitch := roundUp(cols+s.extent(1)-1, Lanes)
	rows := min(t.oh, max(1, fewFrame/(s.In*pitch)-s.extent(0)+1))
	frameRows := rows + s.extent(0) - 1
	across, down := ceilDiv(t.ow, cols), ceilDiv(t.oh, rows)
	b := fewJobs.take()
	defer fewJobs.put(b)
	spans := b.state.spans[:0]
	for c := range s.In {
		for k := range s.taps() {
			row := c*frameRows + k/s.Kernel[1]*s.Dilation[0]
			spans = append(spans, span{4 * (row*pitch + k%s.Kernel[1]*s.Dilation[1]), 1})
		}
	}
	b.state = fewJob{f, t, rows, cols, pitch, spans}
	err := w.each(ctx, t.n*down*across, b.each)
	b.state = fewJob{spans: spans}
	return err
}

// fewJob is a run; an item is a piece of an image of rows x cols.
type fewJob struct {
	*few
	task              task
	rows, cols, pitch int
	spans             []span
}

var fewJobs = jobs[fewJob]{item: (*fewJob).item}

func (j *fewJob) item(item int, sc *scratch) {
	f, s, t, rows, cols, pitch := j.few, j.few.shape, &j.task, j.rows, j.cols, j.pitch
	across, down := ceilDiv(t.ow, cols), ceilDiv(t.oh, rows)
	frameRows := rows + s.extent(0) - 1
	image, y0, x0 := item/across/down, item/across%down*rows, item%across*cols
	n, width := min(rows, t.oh-y0), min(cols, t.ow-x0)
	buf := sc.floats(s.In*frameRows*pitch + s.Out*cols)
	frame, sums := buf[:s.In*frameRows*pitch], buf[s.In*frameRows*pitch:]
	f.copyFrame(t, image, y0-s.Pads[0], x0-s.Pads[1], frame, n+s.extent(0)-1, frameRows, pitch)
	m := panels{count: ceilDiv(width, fewPixels()), a: frame, spans: j.spans, b: f.weights, c: sums, cBlock: cols, start: f.bias, lo: f.lo}
	for y := range n {
		m.at = y * pitch
		m.few(s.Out)
		for o := range s.Out {
			number := image*s.Out + o
			at := (number*t.oh+y0+y)*t.ow + x0
			copy(t.dst[at:][:width], sums[o*cols:])
			t.tail.apply(sc, number, at, width)
		}
	}
}

// copyFrame copies the rows from (y, x) on to planes [In][all][pitch]; outside of
// the image is zero.
func (f *few) copyFrame(t *task, image, y, x int, frame []float32, rows, all, pitch int) {
	in := f.shape.In
	from, to := max(0, -x), min(pitch, t.w-x)
	inside := func(r int) bool { return y+r >= 0 && y+r < t.h && from < to }
	for c := range in {
		for r := range rows {
			line := frame[(c*all+r)*pitch:][:pitch]
			switch {
			case !inside(r):
				clear(line)
				continue
			case t.planar:
				copy(line[from:to], t.src[((image*in+c)*t.h+y+r)*t.w+x+from:])
			}
			clear(line[:from])
			clear(line[to:])
		}
	}
	for c := 0; c < in && !t.planar; c += Lanes {
		plane := t.src[(image*Blocks(in)+c/Lanes)*t.h*t.w*Lanes:]
		for r := range rows {
			if inside(r) {
				blockToPlanes(frame[(c*all+r)*pitch+from:], all*pitch, plane[((y+r)*t.w+x+from)*Lanes:], min(Lanes, in-c), to-from)
			}
		}
	}
}
