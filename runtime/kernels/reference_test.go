package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
)

// referenceConv is the definition of Conv, in float64.
func referenceConv(s ConvShape, weights, bias, src []float32, n, h, w int) []float64 {
	s.setDefaults()
	oh, ow := s.convSize(0, h), s.convSize(1, w)
	in, out := s.In/s.Groups, s.Out/s.Groups
	dst := make([]float64, n*s.Out*oh*ow)
	for plane := range n * s.Out {
		o, b, sums := plane%s.Out, plane/s.Out, dst[plane*oh*ow:][:oh*ow]
		if bias != nil {
			for i := range sums {
				sums[i] = float64(bias[o])
			}
		}
		for k := range in * s.taps() {
			c, ky, kx := k/s.taps(), k/s.Kernel[1]%s.Kernel[0], k%s.Kernel[1]
			weight := float64(weights[o*in*s.taps()+k])
			for y := range oh {
				iy := y*s.Stride[0] + ky*s.Dilation[0] - s.Pads[0]
				if iy < 0 || iy >= h {
					continue
				}
				row := src[((b*s.In+o/out*in+c)*h+iy)*w:][:w]
				for x := range ow {
					if ix := x*s.Stride[1] + kx*s.Dilation[1] - s.Pads[1]; ix >= 0 && ix < w {
						sums[y*ow+x] += weight * float64(row[ix])
					}
				}
			}
		}
	}
	return dst
}

// referenceTranspose is the definition of ConvTranspose, in float64.
func referenceTranspose(s ConvShape, weights, bias, src []float32, n, h, w int) []float64 {
	s.setDefaults()
	oh, ow := s.transposeSize(0, h), s.transposeSize(1, w)
	in, out := s.In/s.Groups, s.Out/s.Groups
	dst := make([]float64, n*s.Out*oh*ow)
	if bias != nil {
		for i := range dst {
			dst[i] = float64(bias[i/ow/oh%s.Out])
		}
	}
	for i, v := range src[:n*s.In*h*w] {
		x, y, c, b := i%w, i/w%h, i/w/h%s.In, i/w/h/s.In
		for o := range out {
			for ky := range s.Kernel[0] {
				for kx := range s.Kernel[1] {
					oy := y*s.Stride[0] + ky*s.Dilation[0] - s.Pads[0]
					ox := x*s.Stride[1] + kx*s.Dilation[1] - s.Pads[1]
					if oy < 0 || oy >= oh || ox < 0 || ox >= ow {
						continue
					}
					k := ((c*out+o)*s.Kernel[0]+ky)*s.Kernel[1] + kx
					dst[((b*s.Out+c/in*out+o)*oh+oy)*ow+ox] += float64(v) * float64(weights[k])
				}
			}
		}
	}
	return dst
}

func random(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// compare fails when got is further from want than tolerance times want's range.
func compare(t *testing.T, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d elements, want %d", len(got), len(want))
	}
	lo, hi := 0.0, 0.0
	for _, v := range want {
		lo, hi = min(lo, v), max(hi, v)
	}
	worst, at := 0.0, 0
	for i, v := range want {
		d := math.Abs(float64(got[i]) - v)
		if math.IsNaN(d) {
			d = math.Inf(1)
		}
		if d > worst {
			worst, at = d, i
		}
	}
	if worst > tolerance*max(hi-lo, 1) {
		t.Fatalf("element %d of %d is %g, want %g: off by %.2g of the range %g", at, len(want), got[at], want[at], worst/(hi-lo), hi-lo)
	}
}

// atLevels runs f with the micro-kernels of every level that this CPU has.
func atLevels(t *testing.T, f func(t *testing.T)) {
	defer func(l int) { level = l }(level)
	for ; level >= withGo; level-- {
		t.Run([]string{"go", "avx2", "avx512"}[level], f)
	}
}

// blockedOf returns planar images in the blocked layout, with NaN where there
// are no channels.
func blockedOf(planar []float32, n, channels, size int) []float32 {
	b := make([]float32, BlockedLen(n, channels, size))
	fill(b, float32(math.NaN()))
	eachElement(n, channels, size, func(at, to int) { b[to] = planar[at] })
	return b
}

func planarOf(blocked []float32, n, channels, size int) []float32 {
	p := make([]float32, n*channels*size)
	eachElement(n, channels, size, func(at, from int) { p[at] = blocked[from] })
	return p
}

// eachElement calls f with the index of every element in both layouts.
func eachElement(n, channels, size int, f func(planar, blocked int)) {
	for i := range n * channels * size {
		p, c, image := i%size, i/size%channels, i/size/channels
		f(i, ((image*Blocks(channels)+c/Lanes)*size+p)*Lanes+c%Lanes)
	}
}
