package onnx

import (
	"math"
	"slices"
	"strings"
)

// poly is a symbolic number: a polynomial with integer coefficients over atoms,
// divided by a positive integer. Its text is canonical: two polys that are the
// same polynomial have the same text. A nil *poly is a number nothing is known
// about, and every operation on one gives nil, as do results too large to be
// of use.
//
// An atom is a symbol such as "h", or a function that is no polynomial, kept as
// its canonical text: "floor((h+1)/2)", "max(h,w)", "min(h,w)".
type poly struct {
	terms []term // in descending lexical order, none zero; the constant last
	den   int64  // > 0, coprime with the coefficients
}

type term struct {
	coef  int64
	atoms []string // sorted; an atom twice is its square
}

// Bounds that keep hostile graphs from growing expressions without end.
const (
	maxTerms    = 16
	maxExprText = 200
)

func constant(n int64) *poly {
	if n == 0 {
		return &poly{den: 1}
	}
	return &poly{terms: []term{{coef: n}}, den: 1}
}

func symbol(name string) *poly {
	return &poly{terms: []term{{1, []string{name}}}, den: 1}
}

// isInt returns the value of a constant integer.
func (p *poly) isInt() (int64, bool) {
	switch {
	case p == nil || p.den != 1 || len(p.terms) > 1:
		return 0, false
	case len(p.terms) == 0:
		return 0, true
	case len(p.terms[0].atoms) == 0:
		return p.terms[0].coef, true
	}
	return 0, false
}

// isConst returns the value of a constant.
func (p *poly) isConst() (float64, bool) {
	if p == nil || len(p.terms) > 1 || len(p.terms) == 1 && len(p.terms[0].atoms) > 0 {
		return 0, false
	}
	if len(p.terms) == 0 {
		return 0, true
	}
	return float64(p.terms[0].coef) / float64(p.den), true
}

// nonNegative reports that no size of the symbols, which are sizes and so not
// negative, makes p negative.
func (p *poly) nonNegative() bool {
	return p != nil && !slices.ContainsFunc(p.terms, func(t term) bool { return t.coef < 0 })
}

func (p *poly) equal(q *poly) bool { return p != nil && q != nil && p.String() == q.String() }

// compareAtoms is a monomial order: a larger power of the first symbol wins.
func compareAtoms(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return -strings.Compare(a[i], b[i])
		}
	}
	return len(a) - len(b)
}

func mul64(a, b int64) (int64, bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	c := a * b
	return c, c/b == a && a != math.MinInt64 && b != math.MinInt64
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return max(a, -a)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// normal sorts and merges terms and reduces the fraction.
func normal(terms []term, den int64) *poly {
	slices.SortStableFunc(terms, func(a, b term) int { return -compareAtoms(a.atoms, b.atoms) })
	var out []term
	for _, t := range terms {
		if last := len(out) - 1; last >= 0 && slices.Equal(out[last].atoms, t.atoms) {
			sum := out[last].coef + t.coef
			if (sum > out[last].coef) != (t.coef > 0) && t.coef != 0 {
				return nil
			}
			out[last].coef = sum
			continue
		}
		out = append(out, t)
	}
	out = slices.DeleteFunc(out, func(t term) bool { return t.coef == 0 })
	if len(out) > maxTerms {
		return nil
	}
	g := den
	for _, t := range out {
		g = gcd(g, t.coef)
	}
	for i := range out {
		out[i].coef /= g
	}
	return &poly{out, den / g}
}

func (p *poly) scaled(k int64) ([]term, bool) {
	out := make([]term, len(p.terms))
	for i, t := range p.terms {
		c, ok := mul64(t.coef, k)
		if !ok {
			return nil, false
		}
		out[i] = term{c, t.atoms}
	}
	return out, true
}

func (p *poly) add(q *poly) *poly {
	if p == nil || q == nil {
		return nil
	}
	g := gcd(p.den, q.den)
	a, ok1 := p.scaled(q.den / g)
	b, ok2 := q.scaled(p.den / g)
	den, ok3 := mul64(p.den, q.den/g)
	if !ok1 || !ok2 || !ok3 {
		return nil
	}
	return normal(append(a, b...), den)
}

func (p *poly) sub(q *poly) *poly { return p.add(q.mul(constant(-1))) }

func (p *poly) plus(k int64) *poly { return p.add(constant(k)) }

func (p *poly) times(k int64) *poly { return p.mul(constant(k)) }

func (p *poly) mul(q *poly) *poly {
	if p == nil || q == nil {
		return nil
	}
	den, ok := mul64(p.den, q.den)
	if !ok {
		return nil
	}
	var out []term
	for _, a := range p.terms {
		for _, b := range q.terms {
			c, ok := mul64(a.coef, b.coef)
			if !ok {
				return nil
			}
			atoms := slices.Concat(a.atoms, b.atoms)
			slices.Sort(atoms)
			if len(atoms) > maxTerms {
				return nil
			}
			out = append(out, term{c, atoms})
		}
	}
	return normal(out, den)
}

// quotient returns p/q where it is a polynomial again: always for a constant q,
// and when q divides p without a remainder. Otherwise nil.
func (p *poly) quotient(q *poly) *poly {
	if p == nil || q == nil || len(q.terms) == 0 {
		return nil
	}
	lead := q.terms[0]
	if len(lead.atoms) == 0 { // q is lead.coef/q.den
		num, den := q.den, lead.coef
		if den < 0 {
			num, den = -num, -den
		}
		terms, ok1 := p.scaled(num)
		d, ok2 := mul64(p.den, den)
		if !ok1 || !ok2 {
			return nil
		}
		return normal(terms, d)
	}
	rest, result := p, constant(0)
	for range maxTerms {
		if rest == nil || len(rest.terms) == 0 {
			break
		}
		atoms, ok := divideAtoms(rest.terms[0].atoms, lead.atoms)
		if !ok {
			return nil
		}
		num, ok1 := mul64(rest.terms[0].coef, q.den)
		den, ok2 := mul64(rest.den, lead.coef)
		if !ok1 || !ok2 {
			return nil
		}
		if den < 0 {
			num, den = -num, -den
		}
		step := normal([]term{{num, atoms}}, den)
		result, rest = result.add(step), rest.sub(step.mul(q))
	}
	if rest == nil || len(rest.terms) > 0 {
		return nil
	}
	return result
}

// divideAtoms takes the atoms b out of a.
func divideAtoms(a, b []string) ([]string, bool) {
	out := slices.Clone(a)
	for _, x := range b {
		i := slices.Index(out, x)
		if i < 0 {
			return nil, false
		}
		out = slices.Delete(out, i, i+1)
	}
	return out, true
}

// floor rounds down. Whole multiples leave the floor, a floor in a floor is
// one, so equal roundings get equal text.
func (p *poly) floor() *poly {
	if p == nil || p.den == 1 {
		return p
	}
	var whole, rest []term
	g, shift := p.den, int64(0)
	for _, t := range p.terms {
		q := floorDiv(t.coef, p.den)
		r := t.coef - q*p.den
		if q != 0 {
			whole = append(whole, term{q, t.atoms})
		}
		switch {
		case len(t.atoms) == 0:
			shift = r
		case r != 0:
			rest, g = append(rest, term{r, t.atoms}), gcd(g, r)
		}
	}
	out := normal(whole, 1)
	if len(rest) == 0 {
		return out
	}
	den := p.den / g
	for i := range rest {
		rest[i].coef /= g
	}
	inner := normal(rest, 1)
	// The rest is divisible by g, so of the shift only whole multiples count.
	shift = floorDiv(shift, g)
	if den == 1 {
		return out.add(inner).plus(shift)
	}
	if len(rest) == 1 && rest[0].coef == 1 && len(rest[0].atoms) == 1 && strings.HasPrefix(rest[0].atoms[0], "floor(") {
		text := rest[0].atoms[0]
		if nested := parseExpr(text[len("floor(") : len(text)-1]); nested != nil {
			return out.add(nested.plus(shift).quotient(constant(den)).floor())
		}
	}
	return out.add(call("floor", inner.plus(shift).quotient(constant(den))))
}

// ceil rounds up.
func (p *poly) ceil() *poly {
	if p == nil {
		return nil
	}
	shift := &poly{terms: []term{{p.den - 1, nil}}, den: p.den}
	return p.add(normal(shift.terms, shift.den)).floor()
}

// call is an atom made of a function.
func call(f string, args ...*poly) *poly {
	texts := make([]string, len(args))
	for i, a := range args {
		if a == nil {
			return nil
		}
		texts[i] = a.String()
	}
	text := f + "(" + strings.Join(texts, ",") + ")"
	if len(text) > maxExprText {
		return nil
	}
	return symbol(text)
}

// larger returns max(p,q).
func (p *poly) larger(q *poly) *poly { return p.choose(q, "max", 1) }

// smaller returns min(p,q).
func (p *poly) smaller(q *poly) *poly { return p.choose(q, "min", -1) }

func (p *poly) choose(q *poly, name string, sign int64) *poly {
	diff := p.sub(q)
	if diff == nil {
		return nil
	}
	switch d := diff.times(sign); {
	case d == nil:
		return nil
	case d.least().nonNegative():
		return p
	case d.times(-1).least().nonNegative():
		return q
	}
	if q.String() < p.String() {
		p, q = q, p
	}
	return call(name, p, q)
}

// least replaces each floor that stands alone by its bound that makes p smaller:
// (e-k+1)/k <= floor(e/k) <= e/k.
func (p *poly) least() *poly {
	if p == nil {
		return nil
	}
	sum := constant(0)
	for _, t := range p.terms {
		value := &poly{[]term{t}, 1}
		if len(t.atoms) == 1 && strings.HasPrefix(t.atoms[0], "floor(") {
			text := t.atoms[0]
			if e := parseExpr(text[len("floor(") : len(text)-1]); e != nil {
				if t.coef > 0 {
					e = e.sub(constant(e.den - 1).quotient(constant(e.den)))
				}
				value = e.times(t.coef)
			}
		}
		sum = sum.add(value)
	}
	return sum
}

// poly returns the dimension as an expression; nil when it is unknown.
func (d Dim) poly() *poly {
	switch {
	case d.IsKnown():
		return constant(d.Value)
	case d.Param == "":
		return nil
	}
	if p := parseExpr(d.Param); p != nil {
		return p
	}
	return symbol(d.Param)
}

// dim returns the expression as a dimension.
func (p *poly) dim() Dim {
	if n, ok := p.isInt(); ok {
		if n < 0 {
			return Unknown
		}
		return Known(n)
	}
	if p == nil || p.den != 1 {
		return Unknown
	}
	if s := p.String(); len(s) <= maxExprText {
		return Symbol(s)
	}
	return Unknown
}

// Times returns a dimension n times as large.
func (d Dim) Times(n int64) Dim { return d.poly().times(n).dim() }

// Eval returns the size for given sizes of the symbols; false when a symbol is
// missing.
func (d Dim) Eval(sizes map[string]int64) (int64, bool) {
	return d.poly().eval(sizes).isInt()
}
