package metric

import (
	"math"

	"github.com/daq-sr/daq/internal/imaging"
)

const (
	window = 11  // side of SSIM's Gaussian window
	sigma  = 1.5 // its standard deviation
)

var gaussian = func() (g [window]float64) {
	sum := 0.0
	for i := range g {
		d := float64(i - window/2)
		g[i] = math.Exp(-d * d / (2 * sigma * sigma))
		sum += g[i]
	}
	for i := range g {
		g[i] /= sum
	}
	return g
}()

// SSIM returns the mean structural similarity on Y, 1 for equal pictures: 11x11
// Gaussian window of sigma 1.5, only where it fits (valid region), K1 = 0.01,
// K2 = 0.03, L = 255. (Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13(4), 2004.)
// Memory is 11 rows, whatever the size of the picture.
func SSIM(a, b *imaging.Image, border int) (float64, error) {
	p, err := newPair(a, b, border, window)
	if err != nil {
		return 0, err
	}
	const c1, c2 = (0.01 * 255) * (0.01 * 255), (0.03 * 255) * (0.03 * 255)
	width := p.width - window + 1

	// ring holds the last 11 rows of the five products, filtered along the row.
	type products [5]float64 // x, y, xx, yy, xy
	var ring [window][]products
	for i := range ring {
		ring[i] = make([]products, width)
	}
	x, y := make([]float64, p.width), make([]float64, p.width)
	sum := 0.0
	for row := range p.height {
		p.luma(row, x, y)
		line := ring[row%window]
		for i := range line {
			var s products
			for j, g := range gaussian {
				u, v := x[i+j], y[i+j]
				gu, gv := float64(g*u), float64(g*v)
				s[0] += gu
				s[1] += gv
				s[2] += float64(gu * u)
				s[3] += float64(gv * v)
				s[4] += float64(gu * v)
			}
			line[i] = s
		}
		if row < window-1 {
			continue
		}
		for i := range width {
			var s products
			for j, g := range gaussian {
				t := &ring[(row+1+j)%window][i]
				for k := range s {
					s[k] += float64(g * t[k])
				}
			}
			mx, my := s[0], s[1]
			mxx, myy, mxy := float64(mx*mx), float64(my*my), float64(mx*my)
			num := (2*mxy + c1) * (2*(s[4]-mxy) + c2)
			den := (mxx + myy + c1) * (s[2] - mxx + s[3] - myy + c2)
			sum += num / den
		}
	}
	return sum / float64(width*(p.height-window+1)), nil
}
