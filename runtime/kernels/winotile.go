package kernels

import "math"

// The transforms of Winograd's convolution with tiles of 8x8 inputs, made from the
// points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity (Lavin and Gray, "Fast Algorithms
// for Convolutional Neural Networks", 2015): F(6x6, 3x3) and F(4x4, 5x5) share that
// of inputs.

const (
	winoSide   = 8 // of a tile of inputs
	winoPoints = winoSide * winoSide
)

// winoAt are the finite points.
var winoAt = [winoSide - 1]float64{0, 1, -1, 2, -2, 0.5, -0.5}

// winoG is the transform of kernels: row i of a kernel of that size, less than 8.
func winoG(size int) (g [winoSide][]float64) {
	for i, at := range winoAt {
		factor := 1.
		for k, other := range winoAt {
			if k != i {
				factor /= at - other
			}
		}
		for j := range size {
			g[i] = append(g[i], factor*math.Pow(at, float64(j)))
		}
	}
	g[winoSide-1] = make([]float64, size)
	g[winoSide-1][size-1] = 1
	return g
}

// winoKernel is g*kernel*g' of a square kernel, summed in float64.
func winoKernel(g *[winoSide][]float64, kernel []float32) (u [winoPoints]float32) {
	size := len(g[0])
	var t [winoSide][winoSide]float64
	for i, r := range g {
		for x := range size {
			for y, v := range r {
				t[i][x] += v * float64(kernel[y*size+x])
			}
		}
	}
	for i := range u {
		sum := 0.
		for x, v := range g[i%winoSide] {
			sum += v * t[i/winoSide][x]
		}
		u[i] = float32(sum)
	}
	return u
}

// winoInputGo transforms tiles of 8x8 pixels of 16 channels that begin step elements
// apart, rows row apart: element (i, j) of tile t goes to dst[t*tile+(i*8+j)*pos:].
func winoInputGo(tiles int, src []float32, row, step int, dst []float32, tile, pos int) {
	for t := range tiles {
		for l := range Lanes {
			var m [winoSide][winoSide]float32
			for x := range winoSide {
				var d [winoSide]float32
				for y := range d {
					d[y] = src[t*step+y*row+x*Lanes+l]
				}
				for y, v := range winoB(&d) {
					m[y][x] = v
				}
			}
			for y := range m {
				for x, v := range winoB(&m[y]) {
					dst[t*tile+(y*winoSide+x)*pos+l] = v
				}
			}
		}
	}
}

// winoB is one column of the transform of inputs: row i has the coefficients of the
// product of x - p over all finite points p but number i.
func winoB(d *[winoSide]float32) [winoSide]float32 {
	a, b := d[2]+d[6]-17./4*d[4], d[1]+d[5]-17./4*d[3]
	c, e := d[6]+1./4*d[2]-5./4*d[4], 1./2*d[1]-5./2*d[3]+2*d[5]
	f, g := d[6]+4*d[2]-5*d[4], 2*d[1]-5./2*d[3]+1./2*d[5]
	return [winoSide]float32{d[6] - d[0] + 21./4*(d[2]-d[4]), a + b, a - b, c + e, c - e, f + g, f - g, d[7] - d[1] + 21./4*(d[3]-d[5])}
}

// winoOutputGo transforms tiles back to size x size pixels: element (i, j) of tile t
// is src[t*tile+(i*8+j)*pos:], pixel (y, x) of it, plus start and at least lo, goes
// to dst[y*row+(size*t+x)*pixel:].
func winoOutputGo(size, tiles int, src []float32, tile, pos int, start []float32, lo float32, dst []float32, row, pixel int) {
	for t := range tiles {
		for l := range Lanes {
			var m [winoSide][winoSide]float32
			for x := range winoSide {
				var d [winoSide]float32
				for i := range d {
					d[i] = src[t*tile+(i*winoSide+x)*pos+l]
				}
				for y, v := range winoA(size, &d) {
					m[y][x] = v
				}
			}
			for y := range size {
				line := winoA(size, &m[y])
				for x, v := range line[:size] {
					dst[y*row+(size*t+x)*pixel+l] = clamp(v+start[l], lo)
				}
			}
		}
	}
}

// winoA is one column of the transform of outputs: the powers of the points, and
// infinity for the last.
func winoA(size int, d *[winoSide]float32) (y [winoSide]float32) {
	even := [3]float32{d[1] + d[2], d[3] + d[4], d[5] + d[6]}
	odd := [3]float32{d[1] - d[2], d[3] - d[4], d[5] - d[6]}
	y[0] = d[0] + even[0] + (even[1] + even[2])
	for i := 1; i < size; i++ {
		s, power := &even, float32(int(1)<<i)
		if i%2 > 0 {
			s = &odd
		}
		y[i] = s[0] + power*s[1] + 1/power*s[2]
	}
	y[size-1] += d[7]
	return y
}
