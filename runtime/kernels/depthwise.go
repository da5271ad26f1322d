package kernels

import "context"

// depthwise is a convolution whose outputs see one input channel each: a sum of
// shifted rows, without packing. The input rows of a strip are copied into a
// frame with their padding; for a horizontal stride s each row is split into s
// rows of every s-th pixel, so that every tap is contiguous.
type depthwise struct {
	shape   ConvShape
	weights []float32 // [Out][taps]
	bias    []float32
	lo      float32
}

func newDepthwise(s ConvShape, weights, bias []float32, lo float32) *depthwise {
	return &depthwise{s, append([]float32(nil), weights...), padTo(bias, s.Out), lo}
}

const (
	depthwiseRows = 16   // output rows of an item
	depthwiseCols = 1024 // output columns of a frame
)

func (d *depthwise) run(ctx context.Context, w *Workers, t task) error {
	dst, src, n, h, wd, oh, ow := t.dst, t.src, t.n, t.h, t.w, t.oh, t.ow
	s := d.shape
	out, taps := s.Out/s.Groups, s.taps()
	strips := ceilDiv(oh, depthwiseRows)
	cols := min(ow, depthwiseCols)
	halo := (s.Kernel[1] - 1) * s.Dilation[1] / s.Stride[1]
	pitch := roundUp(cols, tapsWidth) + halo // of the pixels of one phase
	row := pitch * s.Stride[1]
	// The vertical position of a tap needs no frame of its own when windows
	// overlap; when they are far apart only the rows that are read are copied.
	rowsOf := func(rows int) int { return (rows-1)*s.Stride[0] + s.extent(0) }
	offsets := make([]int, taps)
	for t := range offsets {
		x := t % s.Kernel[1] * s.Dilation[1]
		offsets[t] = t/s.Kernel[1]*s.Dilation[0]*row + x%s.Stride[1]*pitch + x/s.Stride[1]
	}
	return w.each(ctx, n*s.Groups*strips, func(item int, sc *scratch) {
		channel := item / strips // of all images
		y0 := item % strips * depthwiseRows
		rows := min(depthwiseRows, oh-y0)
		plane := src[channel*h*wd:][:h*wd]
		frame := sc.floats(rowsOf(depthwiseRows) * row)
		var edge [tapsWidth]float32
		for x0 := 0; x0 < ow; x0 += cols {
			width := min(cols, ow-x0)
			for r := range rowsOf(rows) {
				iy := y0*s.Stride[0] - s.Pads[0] + r
				for phase := range s.Stride[1] {
					line := frame[r*row+phase*pitch:][:pitch]
					if iy < 0 || iy >= h {
						clear(line)
					} else {
						gatherRow(line, plane[iy*wd:][:wd], x0*s.Stride[1]-s.Pads[1]+phase, s.Stride[1])
					}
				}
			}
			for o := range out {
				c := channel%s.Groups*out + o
				weights := d.weights[c*taps:][:taps]
				for y := range rows {
					from := frame[y*s.Stride[0]*row:]
					line := dst[((channel*out+o)*oh+y0+y)*ow+x0:][:width]
					blocks := width / tapsWidth
					if blocks > 0 {
						sumTaps(blocks, weights, offsets, from, line, d.bias[c], d.lo)
					}
					if x := blocks * tapsWidth; x < width {
						sumTaps(1, weights, offsets, from[x:], edge[:], d.bias[c], d.lo)
						copy(line[x:], edge[:])
					}
				}
			}
		}
		for o := range out {
			t.tail.apply(sc, channel*out+o, ((channel*out+o)*oh+y0)*ow, rows*ow)
		}
	})
}
