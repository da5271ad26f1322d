//go:build amd64 && !purego

package kernels

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

//go:generate go -C gen run . -out ../micro_amd64.s -stubs ../micro_asm_amd64.go -pkg kernels

// What instructions the micro-kernels use.
const (
	withGo = iota
	withAVX2
	withAVX512
)

// level is chosen for this CPU; GODEBUG=cpu.avx512f=off and cpu.avx2=off lower
// it. Tests change it.
var level = func() int {
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasFMA && cpu.X86.HasAVX2:
		return withAVX512
	case cpu.X86.HasAVX2 && cpu.X86.HasFMA:
		return withAVX2
	}
	return withGo
}()

// The assembly does not check bounds: the wrappers touch the last elements first
// where they are known.

func gemmPanel(blocks, k int, a, b, c []float32, ldc int, start []float32, lo float32) {
	if level == withGo || blocks == 0 || k == 0 {
		gemmPanelGo(blocks, k, a, b, c, ldc, start, lo)
		return
	}
	_, _, _ = a[blocks*k*mr-1], b[k*nr-1], c[(blocks*mr-1)*ldc+nr-1]
	var from *float32
	if start != nil {
		from = &start[:blocks*mr][0]
	}
	gemmPanelAVX2(blocks, k, &a[0], &b[0], &c[0], 4*ldc, from, lo)
}

// panelArgs is panels for the assembly, which knows the order of the fields;
// distances are in bytes.
type panelArgs struct {
	count          int
	a              *float32
	at, pixel      int
	spans          *span
	spanCount      int
	b              *float32
	c              *float32
	cPixel, cBlock int
	start          *float32
	lo             float32
}

func (m *panels) args() panelArgs {
	p := panelArgs{count: m.count, a: &m.a[0], at: 4 * m.at, pixel: 4 * m.pixel, spans: unsafe.SliceData(m.spans), spanCount: len(m.spans),
		b: unsafe.SliceData(m.b), c: &m.c[0], cPixel: 4 * m.cPixel, cBlock: 4 * m.cBlock, lo: m.lo}
	if m.start != nil {
		p.start = &m.start[:m.blocks*Lanes][0]
	}
	return p
}

func (p *panelArgs) bytes() *byte { return (*byte)(unsafe.Pointer(p)) }

// multiply is the product with the weights of all blocks.
func (m *panels) multiply() {
	if m.count == 0 {
		return
	}
	switch level {
	case withGo:
		m.panelGo()
	case withAVX2:
		one := *m
		for o := range m.blocks {
			one.blocks = 1
			one.b, one.c = m.b[min(len(m.b), o*m.depth*Lanes):], m.c[o*m.cBlock:]
			if m.start != nil {
				one.start = m.start[o*Lanes:]
			}
			p := one.args()
			panelAVX2_6x1(p.bytes())
		}
	default:
		p := m.args()
		switch m.blocks {
		case 4:
			panelAVX512_6x4(p.bytes())
		case 3:
			panelAVX512_6x3(p.bytes())
		default:
			// Two panels at once; the kernel leaves c behind them.
			if p.count = m.count / 2; p.count > 0 {
				if m.blocks == 2 {
					panelAVX512_12x2(p.bytes())
				} else {
					panelAVX512_12x1(p.bytes())
				}
			}
			if m.count%2 > 0 {
				p.count = 1
				p.at += (m.count - 1) * panelPixels * p.pixel
				if m.blocks == 2 {
					panelAVX512_6x2(p.bytes())
				} else {
					panelAVX512_6x1(p.bytes())
				}
			}
		}
	}
}

func (m *panels) lanewise() {
	if m.count == 0 {
		return
	}
	switch level {
	case withGo:
		m.lanewiseGo()
	case withAVX2:
		p := m.args()
		lanewiseAVX2(p.bytes())
	default:
		p := m.args()
		lanewiseAVX512(p.bytes())
	}
}

func (m *panels) dots(outs int) {
	if m.count == 0 {
		return
	}
	if level == withGo {
		m.dotsGo(outs)
		return
	}
	p := m.args()
	switch wide := level == withAVX512; {
	case outs == 1 && wide:
		dotsAVX512_1(p.bytes())
	case outs == 1:
		dotsAVX2_1(p.bytes())
	case outs == 2 && wide:
		dotsAVX512_2(p.bytes())
	case outs == 2:
		dotsAVX2_2(p.bytes())
	case wide:
		dotsAVX512_3(p.bytes())
	default:
		dotsAVX2_3(p.bytes())
	}
}

func winoInput(tiles int, src []float32, row, step int, dst []float32, tile, pos int) {
	if level == withGo {
		winoInputGo(tiles, src, row, step, dst, tile, pos)
		return
	}
	_, _ = src[7*row+(tiles-1)*step+8*Lanes-1], dst[(tiles-1)*tile+(winoPoints-1)*pos+Lanes-1]
	if level == withAVX2 {
		winoInputAVX2(tiles, &src[0], 4*row, 4*step, &dst[0], 4*tile, 4*pos)
	} else {
		winoInputAVX512(tiles, &src[0], 4*row, 4*step, &dst[0], 4*tile, 4*pos)
	}
}

func winoOutput(size, tiles int, src []float32, tile, pos int, start []float32, lo float32, dst []float32, row, pixel int) {
	if level == withGo {
		winoOutputGo(size, tiles, src, tile, pos, start, lo, dst, row, pixel)
		return
	}
	_, _, _ = src[(tiles-1)*tile+(winoPoints-1)*pos+Lanes-1], dst[(size-1)*row+(size*tiles-1)*pixel+Lanes-1], start[Lanes-1]
	switch wide := level == withAVX512; {
	case wide && size == 6:
		winoOutputAVX512_6(tiles, &src[0], 4*tile, 4*pos, &start[0], lo, &dst[0], 4*row, 4*pixel)
	case wide:
		winoOutputAVX512_4(tiles, &src[0], 4*tile, 4*pos, &start[0], lo, &dst[0], 4*row, 4*pixel)
	case size == 6:
		winoOutputAVX2_6(tiles, &src[0], 4*tile, 4*pos, &start[0], lo, &dst[0], 4*row, 4*pixel)
	default:
		winoOutputAVX2_4(tiles, &src[0], 4*tile, 4*pos, &start[0], lo, &dst[0], 4*row, 4*pixel)
	}
}

func row(op Op, dst, a, b []float32, step int) {
	if level == withGo {
		rowGo(op, dst, a, b, step)
		return
	}
	whole := len(dst) &^ (Lanes - 1)
	if whole > 0 {
		_ = b[(whole/Lanes-1)*step+Lanes-1]
		rowAVX2(int(op), whole/Lanes, &dst[0], &a[:whole][0], &b[0], 4*step)
	}
	if whole < len(dst) { // the same instructions for the last few
		var x, y, z [Lanes]float32
		copy(x[:], a[whole:])
		copy(y[:], b[whole/Lanes*step:])
		rowAVX2(int(op), 1, &z[0], &x[0], &y[0], 0)
		copy(dst[whole:], z[:])
	}
}

func interleave(dst, a, b []float32) {
	if n := len(a) &^ 7; level > withGo && n > 0 {
		interleaveAVX2(n/8, &dst[:2*n][0], &a[0], &b[:n][0])
		dst, a, b = dst[2*n:], a[n:], b[n:]
	}
	interleaveGo(dst, a, b)
}

func sumLanes(lanes *[16]float64, v []float32) {
	if n := len(v) &^ 15; level > withGo && n > 0 {
		sumLanesAVX2(n/16, &v[0], &lanes[0])
		v = v[n:]
	}
	sumLanesGo(lanes, v)
}

func survey(lanes *[2][4]float64, extremes *[2][4]float32, x []float32, about float64) {
	if n := len(x) / 4; level > withGo && n > 0 {
		surveyAVX2(n, &x[0], about, &lanes[0][0], &extremes[0][0])
		x = x[4*n:]
	}
	surveyGo(lanes, extremes, x, about)
}

func sumPixels(chains *[16][Lanes]float64, v []float32) {
	if n := len(v) / Lanes; level > withGo && n > 0 {
		sumPixelsAVX2(n, &v[0], &chains[0][0])
		return
	}
	sumPixelsGo(chains, v)
}

func transpose16(dst []float32, to int, src []float32, from int) {
	if level == withGo {
		transpose16Go(dst, to, src, from)
		return
	}
	_, _ = dst[15*to+15], src[15*from+15]
	transpose16AVX2(&dst[0], 4*to, &src[0], 4*from)
}
