package onnx

import (
	"math"
	"strconv"
	"strings"
)

// peek skips blanks and comments and returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; c {
		case ' ', '\t', '\r', '\n':
			p.pos++
		case '#':
			end := strings.IndexByte(p.text[p.pos:], '\n')
			if end < 0 {
				p.pos = len(p.text)
			} else {
				p.pos += end
			}
		default:
			return c
		}
	}
	return 0
}

func (p *parser) accept(token string) bool {
	p.peek()
	if !strings.HasPrefix(p.text[p.pos:], token) {
		return false
	}
	p.pos += len(token)
	return true
}

func (p *parser) expect(token string) {
	if !p.accept(token) {
		p.fail("%q expected", token)
	}
}

// word reads an identifier without quotes, "" when there is none.
func (p *parser) word() string {
	p.peek()
	start := p.pos
	for p.pos < len(p.text) && isIdentByte(p.text[p.pos], p.pos == start) {
		p.pos++
	}
	return p.text[start:p.pos]
}

// peekWord returns the next word without reading it.
func (p *parser) peekWord() string {
	p.peek()
	start := p.pos
	w := p.word()
	p.pos = start
	return w
}

// ident reads a name, which may be in quotes.
func (p *parser) ident() string {
	if p.peek() == '"' {
		return p.quoted()
	}
	w := p.word()
	if w == "" {
		p.fail("a name expected")
	}
	return w
}

func (p *parser) quoted() string {
	p.expect(`"`)
	var b strings.Builder
	for ; p.pos < len(p.text); p.pos++ {
		switch c := p.text[p.pos]; c {
		case '"':
			p.pos++
			return b.String()
		case '\\':
			p.pos++
			if p.pos < len(p.text) {
				b.WriteByte(p.text[p.pos])
			}
		default:
			b.WriteByte(c)
		}
	}
	p.pos = len(p.text)
	p.fail("a string does not end")
	return ""
}

// number reads a literal: digits, or one of nan and inf.
func (p *parser) number() string {
	c := p.peek()
	start := p.pos
	if c == '-' || c == '+' {
		p.pos++
	}
	if p.pos < len(p.text) && isIdentByte(p.text[p.pos], true) {
		switch w := strings.ToLower(p.word()); w {
		case "nan", "inf", "infinity":
			return p.text[start:p.pos]
		}
		p.pos = start
		p.fail("a number expected")
	}
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		sign := (c == '-' || c == '+') && p.pos > start && (p.text[p.pos-1] == 'e' || p.text[p.pos-1] == 'E')
		if !sign && c != '.' && c != 'e' && c != 'E' && (c < '0' || c > '9') {
			break
		}
		p.pos++
	}
	if p.pos == start {
		if strings.HasPrefix(p.text[start:], "...") {
			p.fail("the text is abbreviated here: print the model in full")
		}
		p.fail("a number expected")
	}
	return p.text[start:p.pos]
}

func isInteger(literal string) bool { return !strings.ContainsAny(literal, ".eEnN") }

func (p *parser) integer() int64 {
	lit := p.number()
	v, err := strconv.ParseInt(lit, 10, 64)
	if err != nil {
		p.fail("%s is not a 64-bit integer", lit)
	}
	return v
}

func (p *parser) float(bits int) float64 { return p.floatOf(p.number(), bits) }

func (p *parser) floatOf(lit string, bits int) float64 {
	v, err := strconv.ParseFloat(strings.TrimSuffix(lit, "."), bits)
	if err != nil && !math.IsInf(v, 0) {
		if len(lit) == 4 && strings.EqualFold(lit[1:], "nan") { // Go knows no signed NaN
			return math.NaN()
		}
		p.fail("%s is not a number", lit)
	}
	return v
}

// commas calls item for each element of a list up to the closing token.
func (p *parser) commas(end string, item func()) {
	for !p.accept(end) {
		item()
		if !p.accept(",") {
			p.expect(end)
			return
		}
	}
}
