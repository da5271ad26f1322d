package onnx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

func (p *poly) String() string {
	if p == nil {
		return "?"
	}
	var b strings.Builder
	for i, t := range p.terms {
		if i > 0 && t.coef > 0 {
			b.WriteByte('+')
		}
		parts := slices.Clone(t.atoms)
		switch {
		case len(parts) == 0:
			parts = []string{strconv.FormatInt(t.coef, 10)}
		case t.coef == -1:
			b.WriteByte('-')
		case t.coef != 1:
			parts = slices.Insert(parts, 0, strconv.FormatInt(t.coef, 10))
		}
		b.WriteString(strings.Join(parts, "*"))
	}
	switch {
	case len(p.terms) == 0:
		return "0"
	case p.den == 1:
		return b.String()
	case len(p.terms) == 1:
		return fmt.Sprintf("%s/%d", b.String(), p.den)
	}
	return fmt.Sprintf("(%s)/%d", b.String(), p.den)
}

// eval gives the value for given sizes of the symbols.
func (p *poly) eval(sizes map[string]int64) *poly {
	if p == nil {
		return nil
	}
	sum := constant(0)
	for _, t := range p.terms {
		product := constant(t.coef)
		for _, a := range t.atoms {
			product = product.mul(evalAtom(a, sizes))
		}
		sum = sum.add(product)
	}
	return sum.quotient(constant(p.den))
}

func evalAtom(a string, sizes map[string]int64) *poly {
	if n, ok := sizes[a]; ok {
		return constant(n)
	}
	if i := strings.IndexByte(a, '('); i > 0 && strings.HasSuffix(a, ")") {
		p := &exprParser{text: a, sizes: sizes}
		if r := p.sum(); r != nil && p.pos == len(a) {
			return r
		}
	}
	return symbol(a)
}

// parseExpr reads the text of a poly, or of a symbol another tool wrote, such as
// "2*s0" or "s0//2"; nil when it is not an expression.
func parseExpr(text string) *poly {
	if len(text) > maxExprText {
		return nil
	}
	p := &exprParser{text: strings.ReplaceAll(text, " ", "")}
	r := p.sum()
	if p.pos != len(p.text) {
		return nil
	}
	return r
}

type exprParser struct {
	text  string
	pos   int
	sizes map[string]int64
}

func (p *exprParser) eat(s string) bool {
	if strings.HasPrefix(p.text[p.pos:], s) {
		p.pos += len(s)
		return true
	}
	return false
}

func (p *exprParser) sum() *poly {
	r := p.product()
	for {
		switch {
		case p.eat("+"):
			r = r.add(p.product())
		case p.eat("-"):
			r = r.sub(p.product())
		default:
			return r
		}
	}
}

func (p *exprParser) product() *poly {
	r := p.factor()
	for {
		switch {
		case p.eat("*"):
			r = r.mul(p.factor())
		case p.eat("//"):
			r = r.quotient(p.factor()).floor()
		case p.eat("/"):
			r = r.quotient(p.factor())
		default:
			return r
		}
	}
}

func (p *exprParser) factor() *poly {
	if p.eat("-") {
		return p.factor().times(-1)
	}
	if p.eat("(") {
		r := p.sum()
		if !p.eat(")") {
			return nil
		}
		return r
	}
	start := p.pos
	for i, c := range p.text[start:] {
		if c != '_' && c != '.' && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			break
		}
		p.pos = start + i + len(string(c))
	}
	word := p.text[start:p.pos]
	if word == "" {
		return nil
	}
	if unicode.IsDigit(rune(word[0])) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil
		}
		return constant(n)
	}
	if p.eat("(") {
		return p.function(word)
	}
	if n, ok := p.sizes[word]; ok {
		return constant(n)
	}
	return symbol(word)
}

func (p *exprParser) function(name string) *poly {
	args := []*poly{p.sum()}
	for p.eat(",") {
		args = append(args, p.sum())
	}
	if !p.eat(")") {
		return nil
	}
	switch {
	case name == "floor" && len(args) == 1:
		return args[0].floor()
	case name == "ceil" && len(args) == 1:
		return args[0].ceil()
	case name == "max" && len(args) == 2:
		return args[0].larger(args[1])
	case name == "min" && len(args) == 2:
		return args[0].smaller(args[1])
	}
	return nil
}
