package onnx

import (
	"fmt"
	"strings"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// maxDepth is how deep subgraphs and types may be nested. Real models stay
// below ten; the limit keeps hostile files from exhausting the stack.
const maxDepth = 64

// Parse reads a model in the ONNX text form:
//
//	<ir_version: 10, opset_import: ["" : 21]>
//	name (float[N,3,H,W] x) => (float[N,3,H,W] y) <float[2] w = {1, 2}> {
//	   [node] y = Conv <pads = [1, 1, 1, 1]> (x, w)
//	}
//
// float[] has unknown rank, float is a scalar. Elements of floating-point types
// narrower than 32 bits are given by their bits. Errors tell line and column.
func Parse(text string) (*Model, error) {
	p := &parser{text: text}
	m, err := p.parse()
	if err != nil {
		return nil, err
	}
	return decodeModel(m)
}

// parser reads by recursive descent. The first error ends it by a panic with a
// syntaxError, which parse turns into an error.
type parser struct {
	text  string
	pos   int
	depth int
}

type syntaxError struct{ error }

func (p *parser) parse() (m *onnxpb.ModelProto, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case syntaxError:
			err = r.error
		default:
			panic(r)
		}
	}()
	m = p.modelHeader()
	m.Graph = p.graph()
	for p.peek() == '<' {
		m.Functions = append(m.Functions, p.function())
	}
	if p.peek() != 0 {
		p.fail("a function or the end expected")
	}
	return m, nil
}

func (p *parser) fail(format string, args ...any) {
	before := p.text[:p.pos]
	line := 1 + strings.Count(before, "\n")
	column := 1 + len(before) - (strings.LastIndexByte(before, '\n') + 1)
	panic(syntaxError{fmt.Errorf("onnx text, line %d, column %d: %s", line, column, fmt.Sprintf(format, args...))})
}

func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail("nested more than %d deep", maxDepth)
	}
}

func (p *parser) leave() { p.depth-- }

func (p *parser) modelHeader() *onnxpb.ModelProto {
	m := &onnxpb.ModelProto{}
	p.expect("<")
	p.commas(">", func() {
		key := p.word()
		p.expect(":")
		switch key {
		case "ir_version":
			m.IrVersion = ptr(p.integer())
		case "opset_import":
			m.OpsetImport = p.opsets()
		case "producer_name":
			m.ProducerName = ptr(p.quoted())
		case "producer_version":
			m.ProducerVersion = ptr(p.quoted())
		case "domain":
			m.Domain = ptr(p.quoted())
		case "model_version":
			m.ModelVersion = ptr(p.integer())
		case "doc_string":
			m.DocString = ptr(p.quoted())
		case "metadata_props":
			m.MetadataProps = p.props()
		default:
			p.fail("unknown key %q of a model", key)
		}
	})
	return m
}

func ptr[T any](v T) *T { return &v }

func (p *parser) opsets() []*onnxpb.OperatorSetIdProto {
	var out []*onnxpb.OperatorSetIdProto
	p.expect("[")
	p.commas("]", func() {
		o := &onnxpb.OperatorSetIdProto{Domain: ptr(p.quoted())}
		p.expect(":")
		o.Version = ptr(p.integer())
		out = append(out, o)
	})
	return out
}

func (p *parser) props() []*onnxpb.StringStringEntryProto {
	var out []*onnxpb.StringStringEntryProto
	p.expect("[")
	p.commas("]", func() {
		e := &onnxpb.StringStringEntryProto{Key: ptr(p.quoted())}
		p.expect(":")
		e.Value = ptr(p.quoted())
		out = append(out, e)
	})
	return out
}

func (p *parser) graph() *onnxpb.GraphProto {
	p.enter()
	defer p.leave()
	g := &onnxpb.GraphProto{Name: ptr(p.ident())}
	p.expect("(")
	p.commas(")", func() { g.Input = append(g.Input, p.declaration(g)) })
	p.expect("=>")
	p.expect("(")
	p.commas(")", func() { g.Output = append(g.Output, p.valueInfo()) })
	if p.accept("<") {
		p.commas(">", func() {
			n := len(g.Initializer)
			if v := p.declaration(g); len(g.Initializer) == n {
				g.ValueInfo = append(g.ValueInfo, v)
			}
		})
	}
	g.Node = p.nodes()
	return g
}

func (p *parser) nodes() []*onnxpb.NodeProto {
	var out []*onnxpb.NodeProto
	p.expect("{")
	for !p.accept("}") {
		out = append(out, p.node())
	}
	return out
}

func (p *parser) valueInfo() *onnxpb.ValueInfoProto {
	v := &onnxpb.ValueInfoProto{}
	if isKeyword(p.peekWord()) {
		v.Type = p.typeProto()
	}
	v.Name = ptr(p.ident())
	return v
}

// declaration reads a value with its type, and the initializer if one follows.
func (p *parser) declaration(g *onnxpb.GraphProto) *onnxpb.ValueInfoProto {
	v := p.valueInfo()
	if !p.accept("=") {
		return v
	}
	t := p.tensorOf(v.Type)
	t.Name = v.Name
	g.Initializer = append(g.Initializer, t)
	if p.peek() == '[' {
		t.DataLocation, t.ExternalData = onnxpb.TensorProto_EXTERNAL.Enum(), p.props()
		return v
	}
	p.data(t)
	return v
}

func (p *parser) node() *onnxpb.NodeProto {
	n := &onnxpb.NodeProto{}
	if p.accept("[") {
		if p.peek() != ']' {
			n.Name = ptr(p.ident())
		}
		p.expect("]")
	}
	n.Output = p.names("=")
	parts := []string{p.ident()}
	for p.accept(".") {
		parts = append(parts, p.ident())
	}
	last := len(parts) - 1
	n.OpType = ptr(parts[last])
	if last > 0 {
		n.Domain = ptr(strings.Join(parts[:last], "."))
	}
	if p.accept(":") {
		n.Overload = ptr(p.ident())
	}
	n.Attribute = p.attributes()
	p.expect("(")
	n.Input = p.names(")")
	n.Attribute = append(n.Attribute, p.attributes()...)
	return n
}

// names reads names up to a token; one may be empty or "", which leaves an
// optional input or output out.
func (p *parser) names(end string) []string {
	var out []string
	p.commas(end, func() {
		name := ""
		if p.peek() != ',' {
			name = p.ident()
		}
		out = append(out, name)
	})
	return out
}

func (p *parser) function() *onnxpb.FunctionProto {
	f := &onnxpb.FunctionProto{}
	p.expect("<")
	p.commas(">", func() {
		key := p.word()
		p.expect(":")
		switch key {
		case "domain":
			f.Domain = ptr(p.quoted())
		case "overload":
			f.Overload = ptr(p.quoted())
		case "opset_import":
			f.OpsetImport = p.opsets()
		case "doc_string":
			f.DocString = ptr(p.quoted())
		default:
			p.fail("unknown key %q of a function", key)
		}
	})
	f.Name = ptr(p.ident())
	if p.accept("<") {
		p.commas(">", func() {
			name := p.ident()
			if c := p.peek(); c != ':' && c != '=' {
				f.Attribute = append(f.Attribute, name)
				return
			}
			a := &onnxpb.AttributeProto{Name: &name}
			p.attribute(a)
			f.AttributeProto = append(f.AttributeProto, a)
		})
	}
	p.expect("(")
	p.commas(")", func() { f.Input = append(f.Input, p.parameter(f)) })
	p.expect("=>")
	p.expect("(")
	p.commas(")", func() { f.Output = append(f.Output, p.parameter(f)) })
	if p.accept("<") {
		p.commas(">", func() { f.ValueInfo = append(f.ValueInfo, p.valueInfo()) })
	}
	f.Node = p.nodes()
	return f
}

// parameter reads an input or output of a function; its type, if one is given,
// goes to the value infos.
func (p *parser) parameter(f *onnxpb.FunctionProto) string {
	v := p.valueInfo()
	if v.Type != nil {
		f.ValueInfo = append(f.ValueInfo, v)
	}
	return v.GetName()
}
