package kernels

import "context"

// scatter multiplies every input pixel by the weights of all taps and adds the
// products to the output pixels they belong to. It is how a transposed
// convolution is defined, and the faster way for a convolution of stride 1 with
// few outputs: the input is packed once instead of once for each tap.
//
// A worker owns a strip of output rows and walks through the input rows that
// reach it, so every output is summed in the order of input rows and taps.
type scatter struct {
	shape   ConvShape
	stride  [2]int // from one input pixel to the next, in output pixels
	offset  func(axis, tap int) int
	weights [][][]float32 // of each group and row of taps, packDepth of [Out/Groups*kW][In/Groups]
	bias    []float32
	lo      float32
}

func newScatter(s ConvShape, bias []float32, lo float32, weight func(group, out, in, ky, kx int) float32) *scatter {
	sc := &scatter{shape: s, bias: padTo(bias, s.Out), lo: lo}
	in, out := s.In/s.Groups, s.Out/s.Groups
	m := make([]float32, out*s.Kernel[1]*in)
	for g := range s.Groups {
		var rows [][]float32
		for ky := range s.Kernel[0] {
			for o := range out {
				for kx := range s.Kernel[1] {
					for i := range in {
						m[(o*s.Kernel[1]+kx)*in+i] = weight(g, o, i, ky, kx)
					}
				}
			}
			rows = append(rows, packDepth(m, out*s.Kernel[1], in))
		}
		sc.weights = append(sc.weights, rows)
	}
	return sc
}

// newScatterConv is a convolution of stride 1 turned inside out: input (y, x)
// meets tap k in output y + pad - k*dilation.
func newScatterConv(s ConvShape, weights, bias []float32, lo float32) *scatter {
	in, out := s.In/s.Groups, s.Out/s.Groups
	sc := newScatter(s, bias, lo, func(g, o, i, ky, kx int) float32 {
		return weights[(((g*out+o)*in+i)*s.Kernel[0]+ky)*s.Kernel[1]+kx]
	})
	sc.stride = [2]int{1, 1}
	sc.offset = func(axis, tap int) int { return s.Pads[axis] - tap*s.Dilation[axis] }
	return sc
}

func newScatterTranspose(s ConvShape, weights, bias []float32, lo float32) *scatter {
	in, out := s.In/s.Groups, s.Out/s.Groups
	sc := newScatter(s, bias, lo, func(g, o, i, ky, kx int) float32 {
		return weights[(((g*in+i)*out+o)*s.Kernel[0]+ky)*s.Kernel[1]+kx]
	})
	sc.stride = s.Stride
	sc.offset = func(axis, tap int) int { return tap*s.Dilation[axis] - s.Pads[axis] }
	return sc
}

const (
	scatterInputs   = 1 << 15 // floats of packed input kept at once
	scatterProducts = 1 << 15 // floats of products kept at once
)

func (sc *scatter) run(ctx context.Context, w *Workers, t task) error {
	dst, src, n, h, wd, oh, ow := t.dst, t.src, t.n, t.h, t.w, t.oh, t.ow
	s := sc.shape
	in, out := s.In/s.Groups, s.Out/s.Groups
	rows := out * s.Kernel[1]
	padded := roundUp(rows, mr)
	// Columns are cut so that one row of packed input and the products of one
	// row of taps fit the caches. The cut depends on the shape alone.
	panels := max(1, min(ceilDiv(wd, nr), scatterInputs/(in*nr), scatterProducts/(padded*nr)))
	strip := min(max(oh*n*s.Groups/(4*w.threads), 2*s.Stride[0]), 16*s.Stride[0], oh)
	strips := ceilDiv(oh, strip)
	start := make([]float32, padded)
	return w.each(ctx, n*s.Groups*strips, func(item int, scr *scratch) {
		group := item / strips // of all images
		g := group % s.Groups
		y0 := item % strips * strip
		y1 := min(y0+strip, oh)
		// Input rows outside of these meet no output row of the strip.
		least, most := sc.offset(0, 0), sc.offset(0, s.Kernel[0]-1)
		least, most = min(least, most), max(least, most)
		iy0 := max(0, (y0-most)/sc.stride[0])
		iy1 := min(h, max(0, y1-least)/sc.stride[0]+1)
		image := src[group*in*h*wd:][:in*h*wd]
		result := dst[group*out*oh*ow:][:out*oh*ow]
		for o := range out {
			fill(result[(o*oh+y0)*ow:(o*oh+y1)*ow], sc.bias[g*out+o])
		}
		buf := scr.floats((in + padded) * panels * nr)
		packed, products := buf[:in*panels*nr], buf[in*panels*nr:]
		for x := 0; x < wd; x += panels * nr {
			width := min(panels*nr, wd-x)
			for iy := iy0; iy < iy1; iy++ {
				ready := false
				for ky := range s.Kernel[0] {
					oy := iy*sc.stride[0] + sc.offset(0, ky)
					if oy < y0 || oy >= y1 {
						continue
					}
					if !ready {
						packRow(packed, image[iy*wd+x:], h*wd, width, in)
						ready = true
					}
					sc.multiply(products, packed, sc.weights[g][ky], panels*nr, width, rows, in, start)
					for o := range out {
						line := result[(o*oh+oy)*ow:][:ow]
						for kx := range s.Kernel[1] {
							addSpread(line, products[(o*s.Kernel[1]+kx)*panels*nr:][:width], x*sc.stride[1]+sc.offset(1, kx), sc.stride[1])
						}
					}
				}
			}
		}
		for o := range out {
			if rows := result[(o*oh+y0)*ow : (o*oh+y1)*ow]; sc.lo > noClamp {
				RowOne(Max, rows, rows, sc.lo)
			}
			t.tail.apply(scr, group*out+o, ((group*out+o)*oh+y0)*ow, (y1-y0)*ow)
		}
	})
}

// packRow packs width pixels of one image row as panels [panel][in][nr], with
// zero columns at the end. It reads one plane after the other: their rows often
// lie a power of two apart and push each other out of the caches.
func packRow(dst, src []float32, plane, width, in int) {
	whole := width / nr * nr
	for c := range in {
		line := src[c*plane:][:width]
		to := dst[c*nr:]
		spreadRow(whole/nr, to, in*nr, line)
		if whole < width {
			rest := to[whole*in:][:nr]
			clear(rest[copy(rest, line[whole:]):])
		}
	}
}

// multiply sets products[rows][ld] to weights times the packed row.
func (sc *scatter) multiply(products, packed, weights []float32, ld, width, rows, in int, start []float32) {
	for p := 0; p < width; p += nr {
		for k := 0; k < in; k += kc {
			from := start
			if k > 0 {
				from = nil
			}
			// products is padded to whole panels and blocks of rows.
			gemmPanel(len(start)/mr, min(kc, in-k), weights[len(start)*k:], packed[p*in+k*nr:], products[p:], ld, from, noClamp)
		}
	}
}

// addSpread adds src[j] to dst[x+j*stride] where that exists.
func addSpread(dst, src []float32, x, stride int) {
	j := 0
	if x < 0 {
		j = ceilDiv(-x, stride)
		x += j * stride
	}
	if j >= len(src) || x >= len(dst) {
		return
	}
	src = src[j:]
	if stride == 1 {
		n := min(len(src), len(dst)-x)
		Row(Add, dst[x:x+n], dst[x:], src)
		return
	}
	for _, v := range src {
		if x >= len(dst) {
			return
		}
		dst[x] += v
		x += stride
	}
}

func fill(dst []float32, v float32) {
	for i := range dst {
		dst[i] = v
	}
}
