package imaging

import (
	"image"
	"image/color"
)

// Picture is a picture as it was decoded, a few bytes a pixel. Image and Region
// make float32 samples of all of it or of a part.
type Picture struct {
	Width, Height int
	Channels      int  // 1 (gray) or 3 (RGB)
	Depth         int  // bits of a sample: 8 or 16
	Alpha         bool // some pixel is not opaque

	at func(x, y int) (r, g, b, a float32)
}

// newPicture takes over src. gray tells that R = G = B, orientation is that of
// EXIF, 1 for upright.
func newPicture(src image.Image, gray bool, orientation int) *Picture {
	b := src.Bounds()
	p := &Picture{Width: b.Dx(), Height: b.Dy(), Channels: 3, Depth: 8}
	switch src.ColorModel() {
	case color.Gray16Model, color.RGBA64Model, color.NRGBA64Model:
		p.Depth = 16
	}
	switch src.ColorModel() {
	case color.GrayModel, color.Gray16Model:
		gray = true
	}
	if gray {
		p.Channels = 1
	}
	at := sampler(src)
	p.at = func(x, y int) (r, g, bl, a float32) { return at(b.Min.X+x, b.Min.Y+y) }
	p.Alpha = !opaque(src, p)
	p.orient(orientation)
	return p
}

func opaque(src image.Image, p *Picture) bool {
	if s, ok := src.(interface{ Opaque() bool }); ok {
		return s.Opaque()
	}
	for y := range p.Height {
		for x := range p.Width {
			if _, _, _, a := p.at(x, y); a != 1 {
				return false
			}
		}
	}
	return true
}

// orient turns the picture upright (EXIF 2.3, tag Orientation).
func (p *Picture) orient(o int) {
	if o < 2 || o > 8 {
		return
	}
	at, w, h := p.at, p.Width, p.Height
	if o >= 5 {
		p.Width, p.Height = h, w
	}
	p.at = func(x, y int) (r, g, b, a float32) {
		if o >= 5 {
			x, y = y, x
		}
		if o == 2 || o == 3 || o == 7 || o == 8 {
			x = w - 1 - x
		}
		if o == 3 || o == 4 || o == 6 || o == 7 {
			y = h - 1 - y
		}
		return at(x, y)
	}
}

// Image returns the whole picture.
func (p *Picture) Image() *Image { return p.Region(0, 0, p.Width, p.Height) }

// Region returns the part of width x height pixels from (x, y) on, which must lie
// inside.
func (p *Picture) Region(x, y, width, height int) *Image {
	m := New(width, height, p.Channels)
	m.Depth = p.Depth
	n := width * height
	if p.Alpha {
		m.Alpha = make([]float32, n)
	}
	for i := range n {
		r, g, b, a := p.at(x+i%width, y+i/width)
		m.Pix[i] = r
		if p.Channels == 3 {
			m.Pix[n+i], m.Pix[2*n+i] = g, b
		}
		if p.Alpha {
			m.Alpha[i] = a
		}
	}
	return m
}
