package calib

import (
	"math"
	"testing"
)

// Every hue is there in full, black and white too, and neighbours are alike.
func TestColours(t *testing.T) {
	m := Colours()
	nearest := map[[3]float32]float64{}
	for corner := range 8 {
		nearest[[3]float32{float32(corner & 1), float32(corner >> 1 & 1), float32(corner >> 2)}] = 3
	}
	r, g, b := m.Plane(0), m.Plane(1), m.Plane(2)
	for i := range r {
		for colour, d := range nearest {
			nearest[colour] = min(d, math.Abs(float64(r[i]-colour[0]))+math.Abs(float64(g[i]-colour[1]))+math.Abs(float64(b[i]-colour[2])))
		}
		if i%m.Width > 0 {
			for _, plane := range [][]float32{r, g, b} {
				if step := math.Abs(float64(plane[i] - plane[i-1])); step > 0.1 {
					t.Fatalf("neighbours at %d differ by %g", i, step)
				}
			}
		}
	}
	for colour, d := range nearest {
		if d > 0.1 {
			t.Errorf("nothing is nearer to %v than %g", colour, d)
		}
	}
}
