// Package metric measures how close a picture is to its original, as the
// super-resolution literature does: both pictures are rounded to 8 bits, turned
// into BT.601 luma (16..235, unrounded), and a border, usually as wide as the
// scale, is left out, because networks and bicubic see too little there.
//
// Gray pictures count as R = G = B; alpha is ignored.
package metric

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/daq-sr/daq/internal/imaging"
)

// PSNR returns the peak signal-to-noise ratio on Y in dB, with peak 255: +Inf
// for equal pictures. Decibels puts that into JSON.
func PSNR(a, b *imaging.Image, border int) (float64, error) {
	p, err := newPair(a, b, border, 1)
	if err != nil {
		return 0, err
	}
	x, y := make([]float64, p.width), make([]float64, p.width)
	sum := 0.0
	for row := range p.height {
		p.luma(row, x, y)
		for i := range x {
			d := x[i] - y[i]
			sum += float64(d * d)
		}
	}
	mse := sum / float64(p.width*p.height)
	return 10 * math.Log10(255*255/mse), nil
}

// Decibels is a PSNR in JSON: null stands for +Inf, which JSON cannot express.
type Decibels float64

// MarshalJSON writes a number, or null for +Inf. NaN and -Inf are errors.
func (d Decibels) MarshalJSON() ([]byte, error) {
	if math.IsInf(float64(d), 1) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(d))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Decibels) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*d = Decibels(math.Inf(1))
		return nil
	}
	return json.Unmarshal(b, (*float64)(d))
}

// pair reads rows of luma of two equal-sized pictures inside the border.
type pair struct {
	a, b          *imaging.Image
	border        int
	width, height int // inside the border
}

func newPair(a, b *imaging.Image, border, smallest int) (pair, error) {
	p := pair{a: a, b: b, border: border, width: a.Width - 2*border, height: a.Height - 2*border}
	switch {
	case a.Width != b.Width || a.Height != b.Height:
		return p, fmt.Errorf("cannot compare pictures of %dx%d and %dx%d pixels", a.Width, a.Height, b.Width, b.Height)
	case border < 0:
		return p, fmt.Errorf("border %d is negative", border)
	case p.width < smallest || p.height < smallest:
		return p, fmt.Errorf("%dx%d pixels without a border of %d are fewer than %dx%d", a.Width, a.Height, border, smallest, smallest)
	}
	return p, nil
}

func (p pair) luma(row int, x, y []float64) {
	luma(x, p.a, row+p.border, p.border)
	luma(y, p.b, row+p.border, p.border)
}

func luma(dst []float64, m *imaging.Image, row, border int) {
	r := m.Plane(0)
	g, b := r, r
	if m.Channels == 3 {
		g, b = m.Plane(1), m.Plane(2)
	}
	at := row*m.Width + border
	for i := range dst {
		dst[i] = imaging.Luma(unit(r[at+i]), unit(g[at+i]), unit(b[at+i]))
	}
}

func unit(v float32) float64 { return float64(imaging.Code8(v)) / 255 }
