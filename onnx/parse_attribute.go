package onnx

import (
	"slices"
	"strconv"
	"strings"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

func (p *parser) attributes() []*onnxpb.AttributeProto {
	var out []*onnxpb.AttributeProto
	if !p.accept("<") {
		return nil
	}
	p.commas(">", func() {
		a := &onnxpb.AttributeProto{Name: ptr(p.ident())}
		p.attribute(a)
		out = append(out, a)
	})
	return out
}

// attribute reads ": type = value" or "= value" behind the name.
func (p *parser) attribute(a *onnxpb.AttributeProto) {
	want := onnxpb.AttributeProto_UNDEFINED
	if p.accept(":") {
		name := p.word()
		v, ok := onnxpb.AttributeProto_AttributeType_value[strings.ToUpper(name)]
		if !ok {
			p.fail("%q is no type of an attribute", name)
		}
		want = onnxpb.AttributeProto_AttributeType(v)
	}
	p.expect("=")
	switch {
	case p.accept("@"):
		a.RefAttrName = ptr(p.ident())
		a.Type = &want
		return
	case p.accept("["):
		p.listValue(a, want)
	default:
		p.value(a, want)
	}
	got := attributeType(a)
	if want != onnxpb.AttributeProto_UNDEFINED && want != got {
		p.fail("attribute %q is declared %s and its value is %s", a.GetName(), strings.ToLower(want.String()), strings.ToLower(got.String()))
	}
	a.Type = &got
}

// value reads a value that is not a list. want makes a float of an integer
// literal.
func (p *parser) value(a *onnxpb.AttributeProto, want onnxpb.AttributeProto_AttributeType) {
	c := p.peek()
	switch w := p.peekWord(); {
	case c == '"':
		start := p.pos
		s := p.quoted()
		if p.peek() != '(' {
			a.S, a.Type = []byte(s), onnxpb.AttributeProto_STRING.Enum()
			return
		}
		p.pos = start // the quoted name of a graph
		a.G, a.Type = p.graph(), onnxpb.AttributeProto_GRAPH.Enum()
	case isKeyword(w):
		typ := p.typeProto()
		name := ""
		if c := p.peek(); c == '"' || isIdentByte(c, true) {
			name = p.ident()
		}
		if p.accept("="); p.peek() != '{' {
			a.Tp, a.Type = typ, onnxpb.AttributeProto_TYPE_PROTO.Enum()
			return
		}
		a.T, a.Type = p.tensorOf(typ), onnxpb.AttributeProto_TENSOR.Enum()
		if name != "" {
			a.T.Name = &name
		}
		p.data(a.T)
	case w != "" && !slices.Contains([]string{"nan", "inf", "infinity"}, strings.ToLower(w)):
		a.G, a.Type = p.graph(), onnxpb.AttributeProto_GRAPH.Enum()
	default:
		lit := p.number()
		if want == onnxpb.AttributeProto_FLOAT || !isInteger(lit) {
			a.F, a.Type = ptr(float32(p.floatOf(lit, 32))), onnxpb.AttributeProto_FLOAT.Enum()
			return
		}
		i, err := strconv.ParseInt(lit, 10, 64)
		if err != nil {
			p.fail("%s is not a 64-bit integer", lit)
		}
		a.I, a.Type = &i, onnxpb.AttributeProto_INT.Enum()
	}
}

// listTypes gives each type of a value that of a list of it.
var listTypes = map[onnxpb.AttributeProto_AttributeType]onnxpb.AttributeProto_AttributeType{
	onnxpb.AttributeProto_FLOAT: onnxpb.AttributeProto_FLOATS, onnxpb.AttributeProto_INT: onnxpb.AttributeProto_INTS,
	onnxpb.AttributeProto_STRING: onnxpb.AttributeProto_STRINGS, onnxpb.AttributeProto_TENSOR: onnxpb.AttributeProto_TENSORS,
	onnxpb.AttributeProto_GRAPH: onnxpb.AttributeProto_GRAPHS, onnxpb.AttributeProto_TYPE_PROTO: onnxpb.AttributeProto_TYPE_PROTOS,
}

func (p *parser) listValue(a *onnxpb.AttributeProto, want onnxpb.AttributeProto_AttributeType) {
	single := onnxpb.AttributeProto_UNDEFINED
	if want == onnxpb.AttributeProto_FLOATS {
		single = onnxpb.AttributeProto_FLOAT
	}
	typ := want
	p.commas("]", func() {
		item := &onnxpb.AttributeProto{}
		p.value(item, single)
		if typ == onnxpb.AttributeProto_UNDEFINED {
			typ, single = listTypes[item.GetType()], item.GetType()
		}
		if listTypes[item.GetType()] != typ {
			p.fail("the list %q mixes types", a.GetName())
		}
		switch typ {
		case onnxpb.AttributeProto_FLOATS:
			a.Floats = append(a.Floats, item.GetF())
		case onnxpb.AttributeProto_INTS:
			a.Ints = append(a.Ints, item.GetI())
		case onnxpb.AttributeProto_STRINGS:
			a.Strings = append(a.Strings, item.S)
		case onnxpb.AttributeProto_TENSORS:
			a.Tensors = append(a.Tensors, item.T)
		case onnxpb.AttributeProto_GRAPHS:
			a.Graphs = append(a.Graphs, item.G)
		case onnxpb.AttributeProto_TYPE_PROTOS:
			a.TypeProtos = append(a.TypeProtos, item.Tp)
		}
	})
	if typ == onnxpb.AttributeProto_UNDEFINED {
		p.fail("the empty list %q needs a type: write %s: ints = []", a.GetName(), ident(a.GetName()))
	}
	a.Type = &typ
}
