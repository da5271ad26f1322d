package passes

import (
	"math"
	"testing"
)

// TestApartScale: with the scale found all pairs of codes give the same in the orders in which
// runtimes multiply and add in float32; with the one before they do not.
func TestApartScale(t *testing.T) {
	a, b := &ActivationPlan{Bits: 8, Scale: 0.0234, ZeroPoint: 117}, &ActivationPlan{Bits: 8, Scale: 0.0117, ZeroPoint: 96}
	for _, product := range []bool{false, true} {
		y := &ActivationPlan{Bits: 8, Scale: 0.0234, ZeroPoint: 120}
		if product {
			y.Scale = 0.0117 * 0.0234 * 100
		}
		if n := disagree(product, a, b, y); n == 0 {
			t.Errorf("product %v: no pair of codes is on a border: the test shows nothing", product)
		}
		before := y.Scale
		y.Scale = apartScale(product, a, b, y)
		if y.Scale <= before || y.Scale > before*1.02 {
			t.Errorf("product %v: scale %g, was %g", product, y.Scale, before)
		}
		if n := disagree(product, a, b, y); n > 0 {
			t.Errorf("product %v: %d pairs of codes give different sums", product, n)
		}
	}
}

// disagree counts the pairs of codes that do not give the same in all orders.
func disagree(product bool, a, b, y *ActivationPlan) (pairs int) {
	code := func(x float32) float64 {
		return math.RoundToEven(float64(min(max(x, -float32(y.ZeroPoint)), float32(255-y.ZeroPoint))))
	}
	for i := range 256 {
		for j := range 256 {
			p, q := float32(i-a.ZeroPoint), float32(j-b.ZeroPoint)
			ways := []float32{
				(p*a.Scale + q*b.Scale) / y.Scale,
				p*(a.Scale/y.Scale) + q*(b.Scale/y.Scale),
				float32(-float32(a.ZeroPoint)*(a.Scale/y.Scale)-float32(b.ZeroPoint)*(b.Scale/y.Scale)+float32(i)*(a.Scale/y.Scale)) + float32(j)*(b.Scale/y.Scale),
			}
			if product {
				ways = []float32{(p * a.Scale) * (q * b.Scale) / y.Scale, p * q * (a.Scale * b.Scale / y.Scale), p * q * (a.Scale * (b.Scale / y.Scale))}
			}
			differ := false
			for _, w := range ways {
				differ = differ || code(w) != code(ways[0])
				// As runtimes do that add the zero point first: ties go by the parity of the sum.
				differ = differ || math.RoundToEven(float64(w+float32(y.ZeroPoint+1)))-float64(y.ZeroPoint+1) != math.RoundToEven(float64(w))
			}
			if differ {
				pairs++
			}
		}
	}
	return pairs
}
