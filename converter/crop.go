package converter

import "github.com/daq-sr/daq/internal/imaging"

// cropSize is the side of a crop in pixels of the upscaled picture.
const cropSize = 96

// Crop is the part of a picture where float and quantized differ most.
type Crop struct {
	X, Y                                int // of the upper left corner in the upscaled picture
	Original, Bicubic, Float, Quantized *imaging.Image
}

// largestDifference cuts the square of cropSize, on a grid of half its side,
// with the largest squared difference of float and quantized.
func largestDifference(original, bicubic, float, quantized *imaging.Image) *Crop {
	w, h := min(cropSize, float.Width), min(cropSize, float.Height)
	crop := &Crop{}
	worst := -1.0
	for _, y := range positions(float.Height, h) {
		for _, x := range positions(float.Width, w) {
			if d := squaredDifference(float, quantized, x, y, w, h); d > worst {
				worst, crop.X, crop.Y = d, x, y
			}
		}
	}
	cut := func(m *imaging.Image) *imaging.Image { return m.Region(crop.X, crop.Y, w, h) }
	crop.Original, crop.Bicubic, crop.Float, crop.Quantized = cut(original), cut(bicubic), cut(float), cut(quantized)
	return crop
}

// positions returns where crops of a size may begin in a length; the last one
// ends at the border.
func positions(length, size int) []int {
	var at []int
	for x := 0; x < length-size; x += max(size/2, 1) {
		at = append(at, x)
	}
	return append(at, length-size)
}

func squaredDifference(a, b *imaging.Image, x0, y0, w, h int) float64 {
	sum := 0.0
	for c := range a.Channels {
		p, q := a.Plane(c), b.Plane(c)
		for y := y0; y < y0+h; y++ {
			for x := x0; x < x0+w; x++ {
				d := float64(p[y*a.Width+x] - q[y*a.Width+x])
				sum += d * d
			}
		}
	}
	return sum
}
