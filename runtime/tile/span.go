package tile

// span is the elements [lo, hi) along one axis; empty when hi <= lo.
type span struct{ lo, hi int }

func (s span) empty() bool { return s.hi <= s.lo }

// join is the smallest span that holds both.
func (s span) join(t span) span {
	switch {
	case s.empty():
		return t
	case t.empty():
		return s
	}
	return span{min(s.lo, t.lo), max(s.hi, t.hi)}
}

// clip leaves out what is outside of an axis of n elements.
func (s span) clip(n int) span { return span{min(max(s.lo, 0), n), min(max(s.hi, 0), n)} }

// ratio is elements along an axis of a map for each element of the picture.
type ratio struct{ num, den int }

func (r ratio) times(num, den int) ratio {
	r.num, r.den = r.num*num, r.den*den
	d := gcd(r.num, r.den)
	return ratio{r.num / d, r.den / d}
}

// of returns r*n for an n that r.den divides.
func (r ratio) of(n int) int { return n / r.den * r.num }

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func lcm(a, b int) int { return a / gcd(a, b) * b }

// floorDiv is a/b rounded down.
func floorDiv(a, b int) int {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}
