package kernels

// Survey returns the sums over x of its distances from a value about, and of their squares, and
// the extremes of x, which has at least one element. sum is not finite where an element is not;
// the others mean nothing then. The sums are the same on every machine.
func Survey(x []float32, about float64) (sum, squares float64, lowest, highest float32) {
	var lanes [2][4]float64 // of elements i%4
	extremes := [2][4]float32{{x[0], x[0], x[0], x[0]}, {x[0], x[0], x[0], x[0]}}
	survey(&lanes, &extremes, x, about)
	sum = lanes[0][0] + lanes[0][1] + lanes[0][2] + lanes[0][3]
	squares = lanes[1][0] + lanes[1][1] + lanes[1][2] + lanes[1][3]
	low, high := &extremes[0], &extremes[1]
	// + 0: -0 becomes 0
	return sum, squares, min(low[0], low[1], low[2], low[3]) + 0, max(high[0], high[1], high[2], high[3]) + 0
}

// surveyGo adds element i to lane i%4. Variables, unlike arrays, stay in registers.
func surveyGo(lanes *[2][4]float64, extremes *[2][4]float32, x []float32, about float64) {
	s0, s1, s2, s3 := lanes[0][0], lanes[0][1], lanes[0][2], lanes[0][3]
	q0, q1, q2, q3 := lanes[1][0], lanes[1][1], lanes[1][2], lanes[1][3]
	low, high := extremes[0][0], extremes[1][0]
	for ; len(x) >= 4; x = x[4:] {
		a, b, c, d := float64(x[0])-about, float64(x[1])-about, float64(x[2])-about, float64(x[3])-about
		s0, s1, s2, s3 = s0+a, s1+b, s2+c, s3+d
		q0, q1, q2, q3 = q0+float64(a*a), q1+float64(b*b), q2+float64(c*c), q3+float64(d*d)
		low = min(low, x[0], x[1], x[2], x[3])
		high = max(high, x[0], x[1], x[2], x[3])
	}
	extremes[0][0], extremes[1][0] = low, high
	lanes[0], lanes[1] = [4]float64{s0, s1, s2, s3}, [4]float64{q0, q1, q2, q3}
	for i, v := range x {
		d := float64(v) - about
		lanes[0][i] += d
		lanes[1][i] += float64(d * d)
		extremes[0][i], extremes[1][i] = min(extremes[0][i], v), max(extremes[1][i], v)
	}
}
