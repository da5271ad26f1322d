package calib

import (
	"math"

	"github.com/daq-sr/daq/internal/imaging"
)

// ColoursName is the name in a profile of the picture that Colours returns.
const ColoursName = "(all colours)"

// Colours returns a picture of all hues side by side, from white at the top to black at the
// bottom, that changes as smoothly as photographs do. Photographs have few of the colours that
// there are, and what a static range cuts off of the others is their colour.
func Colours() *imaging.Image {
	const width, height = 64, 48
	m := imaging.New(width, height, 3)
	for y := range height {
		down := 2 * float64(y) / (height - 1)
		saturation, value := min(1, down), min(1, 2-down)
		for x := range width {
			hue := 6 * float64(x) / width
			for c, pure := range []float64{math.Abs(hue-3) - 1, 2 - math.Abs(hue-2), 2 - math.Abs(hue-4)} {
				v := value * (1 - saturation*(1-max(0, min(1, pure))))
				m.Pix[(c*height+y)*width+x] = float32(math.Round(255*v)) / 255
			}
		}
	}
	return m
}
