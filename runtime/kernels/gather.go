package kernels

import "context"

// gather is convolution as implicit matrix multiplication: the weights of a
// group [Out/Groups][In/Groups*kH*kW] times the windows of a few dozen output
// pixels, gathered into packed panels just before they are used. It serves every
// shape.
type gather struct {
	shape   ConvShape
	weights [][]float32 // of each group, packDepth
	start   [][]float32 // biases of each group
	lo      float32
}

func newGather(s ConvShape, weights, bias []float32, lo float32) *gather {
	g := &gather{shape: s, lo: lo}
	rows, depth := s.Out/s.Groups, s.In/s.Groups*s.taps()
	bias = padTo(bias, s.Out)
	for i := range s.Groups {
		g.weights = append(g.weights, packDepth(weights[i*rows*depth:], rows, depth))
		g.start = append(g.start, padTo(bias[i*rows:][:rows], roundUp(rows, mr)))
	}
	return g
}

// gatherPanels is the number of panels an item has at most: enough to use a
// slice of weights several times while it is in the second-level cache, and to
// read long pieces of each plane of the input.
const gatherPanels = 16

func (g *gather) run(ctx context.Context, w *Workers, t task) error {
	dst, src, n, h, wd, oh, ow := t.dst, t.src, t.n, t.h, t.w, t.oh, t.ow
	s := g.shape
	if s.taps() == 1 && s.Stride == [2]int{1, 1} && s.Pads == [4]int{} {
		h, wd, oh, ow = 1, h*wd, 1, oh*ow // rows do not matter
	}
	in, rows, pixels := s.In/s.Groups, s.Out/s.Groups, oh*ow
	depth, padded := in*s.taps(), roundUp(rows, mr)
	panels := ceilDiv(pixels, nr)
	span := min(max(panels*n*s.Groups/(4*w.threads), 1), gatherPanels)
	spans := ceilDiv(panels, span)
	// Where the elements of a window lie, from its first on.
	offsets := make([]int, depth)
	for k := range offsets {
		offsets[k] = (k/s.taps()*h+k%s.taps()/s.Kernel[1]*s.Dilation[0])*wd + k%s.Kernel[1]*s.Dilation[1]
	}
	return w.each(ctx, n*s.Groups*spans, func(item int, sc *scratch) {
		p := item % spans * span * nr
		width := min(span*nr, pixels-p)
		group := item / spans // of all images
		image := src[group*in*h*wd:][:in*h*wd]
		out := dst[group*rows*pixels+p:][:rows*pixels-p]
		buf := sc.floats(span * (kc + padded) * nr)
		packed, sums := buf[:span*kc*nr], buf[span*kc*nr:]
		var first [gatherPanels]int
		for j := 0; j < width; j += nr {
			first[j/nr] = s.interior(h, wd, ow, p+j, width-j)
		}
		for k := 0; k < depth; k += kc {
			slice := min(kc, depth-k)
			// A few elements at a time for all panels: the cache lines of a row
			// are used up before those of too many channels push them out, which
			// lie a power of two apart in many images.
			few := roundUp(8, s.Kernel[1])
			for i := 0; i < slice; i += few {
				m := min(few, slice-i)
				for j := 0; j < width; j += nr {
					panel := packed[j*slice+i*nr:][:m*nr]
					if at := first[j/nr]; at >= 0 {
						copyPanel(panel, image[at:], offsets[k+i:][:m])
					} else {
						s.gatherPanel(panel, image, h, wd, ow, p+j, min(nr, width-j), k+i, m)
					}
				}
			}
			weights := g.weights[group%s.Groups][padded*k:]
			start, lo := g.start[group%s.Groups], noClamp
			if k > 0 {
				start = nil
			}
			if k+slice == depth {
				lo = g.lo
			}
			for j := 0; j < width; j += nr {
				if depth <= kc {
					multiplyPanel(rows, min(nr, width-j), slice, weights, packed[j*slice:], out[j:], pixels, start, lo)
				} else {
					// Sums are picked up again by the next slice: keep them together.
					gemmPanel(padded/mr, slice, weights, packed[j*slice:], sums[j*padded:], nr, start, lo)
				}
			}
		}
		for j := 0; j < width && depth > kc; j += nr {
			for r := range rows {
				copy(out[r*pixels+j:][:min(nr, width-j)], sums[j*padded+r*nr:])
			}
		}
		for r := range rows {
			t.tail.apply(sc, group*rows+r, (group*rows+r)*pixels+p, width)
		}
	})
}

// interior returns where in the image the first window of the output pixels
// [p, p+nr) starts when these exist, lie in one row, and their windows are
// adjacent and inside of the image; otherwise -1.
func (s *ConvShape) interior(h, wd, ow, p, left int) int {
	y, x := p/ow, p%ow
	iy, ix := y*s.Stride[0]-s.Pads[0], x-s.Pads[1]
	if s.Stride[1] > 1 || left < nr || x+nr > ow ||
		iy < 0 || iy+s.extent(0) > h || ix < 0 || ix+nr-1+s.extent(1) > wd {
		return -1
	}
	return iy*wd + ix
}

// gatherPanel packs, for the output pixels [p, p+width) counted row after row,
// the elements [k, k+depth) of their windows (channel, row, column) into
// [depth][nr]. Columns from width on are left as they are: their sums are not
// used.
func (s *ConvShape) gatherPanel(dst, image []float32, h, wd, ow, p, width, k, depth int) {
	taps := s.taps()
	c, ky, kx := k/taps, k%taps/s.Kernel[1], k%s.Kernel[1]
	y0, x0 := p/ow, p%ow
	dilation, stride := s.Dilation[1], s.Stride[1]
	var line [4 * nr]float32
	for i := 0; i < depth; {
		n := min(s.Kernel[1]-kx, depth-i) // taps of one row of the window
		plane := image[c*h*wd:][:h*wd]
		iy := y0*s.Stride[0] + ky*s.Dilation[0] - s.Pads[0]
		x := x0
		for j := 0; j < width; {
			run := min(width-j, ow-x)
			ix := x*stride + kx*dilation - s.Pads[1]
			switch long := run + (n-1)*dilation; {
			case iy < 0 || iy >= h:
				for t := range n {
					clear(dst[(i+t)*nr+j:][:run])
				}
			case stride == 1 && n > 1 && nr+(n-1)*dilation <= len(line):
				// Taps share their pixels: pad the row once for all.
				gatherRow(line[:long], plane[iy*wd:][:wd], ix, 1)
				for t := range n {
					if to, from := dst[(i+t)*nr+j:], line[t*dilation:]; j == 0 {
						*(*[nr]float32)(to) = [nr]float32(from) // what exceeds run is overwritten or unused
					} else {
						copy(to[:run], from)
					}
				}
			default:
				for t := range n {
					gatherRow(dst[(i+t)*nr+j:][:run], plane[iy*wd:][:wd], ix+t*dilation, stride)
				}
			}
			j += run
			x = 0
			iy += s.Stride[0]
		}
		i += n
		kx = 0
		if ky++; ky == s.Kernel[0] {
			ky = 0
			c++
		}
	}
}

// gatherRow sets dst[j] = src[x+j*stride], zero outside of src.
func gatherRow(dst, src []float32, x, stride int) {
	j := 0
	if x < 0 {
		j = min(len(dst), ceilDiv(-x, stride))
		clear(dst[:j])
		x += j * stride
	}
	if stride == 1 {
		if j < len(dst) && x < len(src) {
			j += copy(dst[j:], src[x:])
		}
	} else {
		for ; j < len(dst) && x < len(src); j++ {
			dst[j] = src[x]
			x += stride
		}
	}
	clear(dst[j:])
}
