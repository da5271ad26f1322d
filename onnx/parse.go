package onnx

import (
	"fmt"
	"slices"
	"strconv"
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

// tensorOf makes a tensor of a type that must be that of a tensor of known size.
func (p *parser) tensorOf(typ *onnxpb.TypeProto) *onnxpb.TensorProto {
	shape := typ.GetTensorType().GetShape()
	if shape == nil {
		p.fail("a tensor needs an element type and a shape in front of its data")
	}
	t := &onnxpb.TensorProto{DataType: ptr(typ.GetTensorType().GetElemType())}
	for _, d := range shape.Dim {
		v, ok := d.Value.(*onnxpb.TensorShapeProto_Dimension_DimValue)
		if !ok {
			p.fail("a tensor needs numbers as dimensions")
		}
		t.Dims = append(t.Dims, v.DimValue)
	}
	return t
}

func (p *parser) typeProto() *onnxpb.TypeProto {
	p.enter()
	defer p.leave()
	t := &onnxpb.TypeProto{}
	switch w := p.word(); w {
	case "seq":
		p.expect("(")
		t.Value = &onnxpb.TypeProto_SequenceType{SequenceType: &onnxpb.TypeProto_Sequence{ElemType: p.typeProto()}}
		p.expect(")")
	case "optional":
		p.expect("(")
		t.Value = &onnxpb.TypeProto_OptionalType{OptionalType: &onnxpb.TypeProto_Optional{ElemType: p.typeProto()}}
		p.expect(")")
	case "map":
		p.expect("(")
		key := p.elemType(p.word())
		p.expect(",")
		t.Value = &onnxpb.TypeProto_MapType{MapType: &onnxpb.TypeProto_Map{KeyType: key, ValueType: p.typeProto()}}
		p.expect(")")
	case "sparse_tensor":
		p.expect("(")
		elem := p.elemType(p.word())
		t.Value = &onnxpb.TypeProto_SparseTensorType{SparseTensorType: &onnxpb.TypeProto_SparseTensor{ElemType: elem, Shape: p.shape()}}
		p.expect(")")
	default:
		elem := p.elemType(w)
		t.Value = &onnxpb.TypeProto_TensorType{TensorType: &onnxpb.TypeProto_Tensor{ElemType: elem, Shape: p.shape()}}
	}
	return t
}

func (p *parser) elemType(word string) *int32 {
	typ, ok := typeByName[word]
	if !ok {
		p.fail("%q is no element type", word)
	}
	return ptr(int32(typ))
}

func (p *parser) shape() *onnxpb.TensorShapeProto {
	s := &onnxpb.TensorShapeProto{}
	if !p.accept("[") {
		return s
	}
	if p.accept("]") {
		return nil
	}
	p.commas("]", func() {
		d := &onnxpb.TensorShapeProto_Dimension{}
		switch c := p.peek(); {
		case c == '?':
			p.pos++
		case c == '"' || isIdentByte(c, true):
			d.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: p.ident()}
		default:
			d.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: p.integer()}
		}
		s.Dim = append(s.Dim, d)
	})
	return s
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

// data reads {elements} into the raw data of a tensor.
func (p *parser) data(t *onnxpb.TensorProto) {
	p.expect("{")
	if p.accept("...") {
		p.fail("the data of tensor %q are abbreviated: print the model in full", t.GetName())
	}
	typ := DataType(t.GetDataType())
	var raw []byte
	count := int64(0) // numbers read
	p.commas("}", func() {
		switch typ {
		case String:
			t.StringData = append(t.StringData, []byte(p.quoted()))
		case Float, Complex64:
			raw = append(raw, BytesOf([]float32{float32(p.float(32))})...)
		case Double, Complex128:
			raw = append(raw, BytesOf([]float64{p.float(64)})...)
		default:
			raw = p.integerElement(raw, typ, count)
		}
		count++
	})
	if typ == Complex64 || typ == Complex128 {
		count /= 2
	}
	if want, err := Elements(t.Dims); err != nil {
		p.fail("tensor %q: %v", t.GetName(), err)
	} else if count != want {
		p.fail("tensor %q has %d elements, its shape %v asks for %d", t.GetName(), count, t.Dims, want)
	}
	if typ != String {
		t.RawData = append([]byte{}, raw...)
	}
}

// integerElement appends element i; bits of narrow floating-point types are
// written like unsigned integers.
func (p *parser) integerElement(raw []byte, typ DataType, i int64) []byte {
	bits := typ.Bits()
	signed := slices.Contains([]DataType{Int2, Int4, Int8, Int16, Int32, Int64}, typ)
	lit := p.number()
	var v uint64
	var err error
	if signed {
		var s int64
		s, err = strconv.ParseInt(lit, 10, bits)
		v = uint64(s)
	} else {
		v, err = strconv.ParseUint(lit, 10, bits)
	}
	if err != nil {
		p.fail("%s is not a value of %s", lit, typ)
	}
	if bits < 8 {
		at := int(i) * bits
		if at%8 == 0 {
			raw = append(raw, 0)
		}
		raw[at/8] |= byte(v&(1<<bits-1)) << (at % 8)
		return raw
	}
	for b := 0; b < bits; b += 8 {
		raw = append(raw, byte(v>>b))
	}
	return raw
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
