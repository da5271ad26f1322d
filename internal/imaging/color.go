package imaging

import "fmt"

// MATLAB's rgb2ycbcr (ITU-R BT.601, studio swing) for R, G, B in 0..1; the
// result is on the scale 16..235 (Y), 16..240 (Cb, Cr).
var ycbcr = [3][3]float64{
	{65.481, 128.553, 24.966},
	{-37.797, -74.203, 112},
	{112, -93.786, -18.214},
}

var ycbcrOffset = [3]float64{16, 128, 128}

// rgbFromYCbCr is the inverse of ycbcr, as MATLAB's ycbcr2rgb computes it.
var rgbFromYCbCr = invert(ycbcr)

// Luma returns Y on the scale 16..235 for R, G, B on the scale 0..1, unrounded:
// 16 + 65.481 R + 128.553 G + 24.966 B. This is the Y of PSNR-Y.
func Luma(r, g, b float64) float64 {
	t := &ycbcr[0]
	return ycbcrOffset[0] + float64(t[0]*r) + float64(t[1]*g) + float64(t[2]*b)
}

// ToYCbCr returns the planes Y, Cb, Cr of a picture divided by 255, so that Y is
// within 16/255..235/255. A gray picture counts as R = G = B. Alpha is shared.
func (m *Image) ToYCbCr() *Image {
	out := m.like(3)
	n := m.Width * m.Height
	r, g, b := m.rgb()
	for c := range 3 {
		t, off, dst := &ycbcr[c], ycbcrOffset[c]/255, out.Plane(c)
		t0, t1, t2 := t[0]/255, t[1]/255, t[2]/255
		for i := range n {
			dst[i] = float32(off + float64(t0*float64(r[i])) + float64(t1*float64(g[i])) + float64(t2*float64(b[i])))
		}
	}
	return out
}

// FromYCbCr is the inverse of ToYCbCr. Values are not clamped: writing does that.
func (m *Image) FromYCbCr() (*Image, error) {
	if m.Channels != 3 {
		return nil, fmt.Errorf("imaging: YCbCr needs 3 channels, not %d", m.Channels)
	}
	out := m.like(3)
	n := m.Width * m.Height
	y, cb, cr := m.Plane(0), m.Plane(1), m.Plane(2)
	for c := range 3 {
		t, dst := &rgbFromYCbCr[c], out.Plane(c)
		for i := range n {
			dst[i] = float32(float64(t[0]*(float64(y[i])*255-ycbcrOffset[0])) +
				float64(t[1]*(float64(cb[i])*255-ycbcrOffset[1])) +
				float64(t[2]*(float64(cr[i])*255-ycbcrOffset[2])))
		}
	}
	return out, nil
}

// Y returns the luma plane of ToYCbCr as a 1-channel picture, the input of a
// network for Y.
func (m *Image) Y() *Image {
	out := m.like(1)
	r, g, b := m.rgb()
	for i := range out.Pix {
		out.Pix[i] = float32(Luma(float64(r[i]), float64(g[i]), float64(b[i])) / 255)
	}
	return out
}

// ToRGB returns m itself when it has 3 channels, else a copy with R = G = B.
func (m *Image) ToRGB() *Image {
	if m.Channels == 3 {
		return m
	}
	out := m.like(3)
	for c := range 3 {
		copy(out.Plane(c), m.Pix)
	}
	return out
}

func (m *Image) rgb() (r, g, b []float32) {
	if m.Channels == 1 {
		return m.Pix, m.Pix, m.Pix
	}
	return m.Plane(0), m.Plane(1), m.Plane(2)
}

// like returns a picture of the same size, depth and alpha with fresh planes.
func (m *Image) like(channels int) *Image {
	out := New(m.Width, m.Height, channels)
	out.Depth, out.Alpha = m.Depth, m.Alpha
	return out
}

func invert(a [3][3]float64) (inv [3][3]float64) {
	minor := func(i, j int) float64 {
		return a[(i+1)%3][(j+1)%3]*a[(i+2)%3][(j+2)%3] - a[(i+1)%3][(j+2)%3]*a[(i+2)%3][(j+1)%3]
	}
	det := a[0][0]*minor(0, 0) + a[0][1]*minor(0, 1) + a[0][2]*minor(0, 2)
	for i := range 3 {
		for j := range 3 {
			inv[j][i] = minor(i, j) / det
		}
	}
	return inv
}
