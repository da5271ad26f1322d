package passes

import "math"

// codes returns the least and the greatest code.
func (a *ActivationPlan) codes() (least, most int) {
	if a.Symmetric {
		return -(1 << (a.Bits - 1)), 1<<(a.Bits-1) - 1
	}
	return 0, 1<<a.Bits - 1
}

// quantizeStatic writes what QuantizeLinear, Clip and DequantizeLinear make of x.
func (a *ActivationPlan) quantizeStatic(dst, x []float32) {
	low, high := a.codes()
	least, most, zero := float64(low), float64(high), float64(a.ZeroPoint)
	for i, v := range x {
		code := min(max(math.RoundToEven(float64(v/a.Scale))+zero, least), most)
		dst[i] = float32(code-zero) * a.Scale
	}
}
