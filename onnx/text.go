package onnx

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// abbreviateAbove is the number of elements up to which Text prints a tensor.
const abbreviateAbove = 16

// Text returns the model in the ONNX text form (the syntax of onnx.parser),
// with tensors of more than 16 elements abbreviated to {...}. Doc strings and
// metadata of single nodes and values, sparse initializers, quantization
// annotations and training info are not part of that form.
func (m *Model) Text() string { return (&printer{}).model(m.encode()) }

// FullText returns the model in the ONNX text form with all tensor data, so
// that Parse gives the same model again.
func (m *Model) FullText() string { return (&printer{full: true}).model(m.encode()) }

type printer struct {
	strings.Builder
	full   bool
	indent string
}

func (p *printer) f(format string, args ...any) { fmt.Fprintf(&p.Builder, format, args...) }

func (p *printer) model(m *onnxpb.ModelProto) string {
	p.f("<\n   ir_version: %d,\n   opset_import: %s", m.GetIrVersion(), opsetsText(m.OpsetImport))
	for _, h := range []struct {
		key   string
		value *string
	}{
		{"producer_name", m.ProducerName}, {"producer_version", m.ProducerVersion}, {"domain", m.Domain},
	} {
		if h.value != nil {
			p.f(",\n   %s: %s", h.key, quote(*h.value))
		}
	}
	if m.ModelVersion != nil {
		p.f(",\n   model_version: %d", *m.ModelVersion)
	}
	if m.DocString != nil {
		p.f(",\n   doc_string: %s", quote(*m.DocString))
	}
	if len(m.MetadataProps) > 0 {
		p.f(",\n   metadata_props: %s", propsText(m.MetadataProps))
	}
	p.f("\n>\n")
	p.graph(m.Graph)
	p.f("\n")
	for _, f := range m.Functions {
		p.function(f)
	}
	return p.String()
}

func opsetsText(opsets []*onnxpb.OperatorSetIdProto) string {
	parts := make([]string, len(opsets))
	for i, o := range opsets {
		parts[i] = fmt.Sprintf("%s : %d", quote(o.GetDomain()), o.GetVersion())
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func propsText(props []*onnxpb.StringStringEntryProto) string {
	parts := make([]string, len(props))
	for i, e := range props {
		parts[i] = quote(e.GetKey()) + ": " + quote(e.GetValue())
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (p *printer) graph(g *onnxpb.GraphProto) {
	if g == nil {
		g = &onnxpb.GraphProto{}
	}
	p.f("%s (", ident(g.GetName()))
	p.valueInfos(g.Input)
	p.f(") => (")
	p.valueInfos(g.Output)
	p.f(")")
	var decls []func()
	for _, t := range g.Initializer {
		decls = append(decls, func() { p.tensor(t, true) })
	}
	for _, v := range g.ValueInfo {
		decls = append(decls, func() { p.valueInfo(v) })
	}
	p.decls(decls)
	p.nodes(g.Node)
}

// decls prints what stands between <...> in front of a body, a line each.
func (p *printer) decls(decls []func()) {
	for i, decl := range decls {
		if i == 0 {
			p.f("\n%s   <", p.indent)
		} else {
			p.f(",\n%s    ", p.indent)
		}
		decl()
	}
	if len(decls) > 0 {
		p.f(">\n%s", p.indent)
	} else {
		p.f(" ")
	}
}

func (p *printer) nodes(nodes []*onnxpb.NodeProto) {
	p.f("{\n")
	outer := p.indent
	p.indent += "   "
	for _, n := range nodes {
		p.f("%s", p.indent)
		p.node(n)
		p.f("\n")
	}
	p.indent = outer
	p.f("%s}", p.indent)
}

func (p *printer) function(f *onnxpb.FunctionProto) {
	p.f("<\n   domain: %s,\n", quote(f.GetDomain()))
	if f.Overload != nil {
		p.f("   overload: %s,\n", quote(*f.Overload))
	}
	p.f("   opset_import: %s", opsetsText(f.OpsetImport))
	if f.DocString != nil {
		p.f(",\n   doc_string: %s", quote(*f.DocString))
	}
	p.f("\n>\n%s ", ident(f.GetName()))
	if len(f.Attribute)+len(f.AttributeProto) > 0 {
		p.f("<")
		for i, a := range f.Attribute {
			p.comma(i)
			p.f("%s", ident(a))
		}
		for i, a := range f.AttributeProto {
			p.comma(i + len(f.Attribute))
			p.attribute(a)
		}
		p.f("> ")
	}
	p.f("(%s) => (%s)", idents(f.Input), idents(f.Output))
	var decls []func()
	for _, v := range f.ValueInfo {
		decls = append(decls, func() { p.valueInfo(v) })
	}
	p.decls(decls)
	p.nodes(f.Node)
	p.f("\n")
}

func (p *printer) comma(i int) {
	if i > 0 {
		p.f(", ")
	}
}

func (p *printer) valueInfos(vs []*onnxpb.ValueInfoProto) {
	for i, v := range vs {
		p.comma(i)
		p.valueInfo(v)
	}
}

func (p *printer) valueInfo(v *onnxpb.ValueInfoProto) {
	if t := typeText(v.Type); t != "" {
		p.f("%s ", t)
	}
	p.f("%s", ident(v.GetName()))
}

// typeText returns a type in text form, "" for an unknown one. float[] is a
// float tensor of unknown rank, float one of rank 0.
func typeText(t *onnxpb.TypeProto) string {
	tensor := func(elem int32, shape *onnxpb.TensorShapeProto) string {
		name := DataType(elem).String()
		if shape == nil {
			return name + "[]"
		}
		if len(shape.Dim) == 0 {
			return name
		}
		dims := make([]string, len(shape.Dim))
		for i, d := range shape.Dim {
			switch v := d.Value.(type) {
			case *onnxpb.TensorShapeProto_Dimension_DimValue:
				dims[i] = strconv.FormatInt(v.DimValue, 10)
			case *onnxpb.TensorShapeProto_Dimension_DimParam:
				dims[i] = ident(v.DimParam)
			default:
				dims[i] = "?"
			}
		}
		return name + "[" + strings.Join(dims, ",") + "]"
	}
	if t == nil {
		return ""
	}
	switch v := t.Value.(type) {
	case *onnxpb.TypeProto_TensorType:
		return tensor(v.TensorType.GetElemType(), v.TensorType.GetShape())
	case *onnxpb.TypeProto_SparseTensorType:
		return "sparse_tensor(" + tensor(v.SparseTensorType.GetElemType(), v.SparseTensorType.GetShape()) + ")"
	case *onnxpb.TypeProto_SequenceType:
		return "seq(" + typeText(v.SequenceType.GetElemType()) + ")"
	case *onnxpb.TypeProto_OptionalType:
		return "optional(" + typeText(v.OptionalType.GetElemType()) + ")"
	case *onnxpb.TypeProto_MapType:
		return "map(" + DataType(v.MapType.GetKeyType()).String() + ", " + typeText(v.MapType.GetValueType()) + ")"
	}
	return ""
}

func (p *printer) node(n *onnxpb.NodeProto) {
	if n.GetName() != "" {
		p.f("[%s] ", ident(*n.Name))
	}
	p.f("%s = %s", idents(n.Output), opText(n))
	// As upstream prints it: subgraphs make the attributes long, so that the
	// inputs come first.
	after := slices.ContainsFunc(n.Attribute, func(a *onnxpb.AttributeProto) bool { return a.G != nil || len(a.Graphs) > 0 })
	if !after {
		p.attributes(n.Attribute)
	}
	p.f(" (%s)", idents(n.Input))
	if after {
		p.attributes(n.Attribute)
	}
}

func opText(n *onnxpb.NodeProto) string {
	s := ident(n.GetOpType())
	if d := n.GetDomain(); d != "" {
		parts := strings.Split(d, ".")
		if !slices.ContainsFunc(parts, func(s string) bool { return !isIdent(s) }) {
			s = d + "." + s
		} else {
			s = quote(d) + "." + s
		}
	}
	if n.GetOverload() != "" {
		s += ":" + ident(*n.Overload)
	}
	return s
}

func (p *printer) attributes(attrs []*onnxpb.AttributeProto) {
	for i, a := range attrs {
		if i == 0 {
			p.f(" <")
		}
		p.comma(i)
		p.attribute(a)
	}
	if len(attrs) > 0 {
		p.f(">")
	}
}

func (p *printer) attribute(a *onnxpb.AttributeProto) {
	typ := attributeType(a)
	p.f("%s: %s = ", ident(a.GetName()), strings.ToLower(typ.String()))
	if a.GetRefAttrName() != "" {
		p.f("@%s", ident(*a.RefAttrName))
		return
	}
	switch typ {
	case onnxpb.AttributeProto_FLOAT:
		p.f("%s", floatText(float64(a.GetF()), 32))
	case onnxpb.AttributeProto_INT:
		p.f("%d", a.GetI())
	case onnxpb.AttributeProto_STRING:
		p.f("%s", quote(string(a.S)))
	case onnxpb.AttributeProto_TENSOR:
		p.tensor(a.T, false)
	case onnxpb.AttributeProto_GRAPH:
		p.graph(a.G)
	case onnxpb.AttributeProto_TYPE_PROTO:
		p.f("%s", typeText(a.Tp))
	case onnxpb.AttributeProto_FLOATS:
		list(p, a.Floats, func(f float32) { p.f("%s", floatText(float64(f), 32)) })
	case onnxpb.AttributeProto_INTS:
		list(p, a.Ints, func(i int64) { p.f("%d", i) })
	case onnxpb.AttributeProto_STRINGS:
		list(p, a.Strings, func(s []byte) { p.f("%s", quote(string(s))) })
	case onnxpb.AttributeProto_TENSORS:
		list(p, a.Tensors, func(t *onnxpb.TensorProto) { p.tensor(t, false) })
	case onnxpb.AttributeProto_GRAPHS:
		list(p, a.Graphs, p.graph)
	case onnxpb.AttributeProto_TYPE_PROTOS:
		list(p, a.TypeProtos, func(t *onnxpb.TypeProto) { p.f("%s", typeText(t)) })
	default:
		p.f("...") // sparse tensors have no text form
	}
}

func list[T any](p *printer, items []T, print func(T)) {
	p.f("[")
	for i, item := range items {
		p.comma(i)
		print(item)
	}
	p.f("]")
}

// tensor prints a tensor, an initializer with "=" in front of its data.
func (p *printer) tensor(t *onnxpb.TensorProto, initializer bool) {
	if t == nil {
		t = &onnxpb.TensorProto{}
	}
	p.f("%s", DataType(t.GetDataType()))
	if len(t.Dims) > 0 {
		p.f("[")
		for i, d := range t.Dims {
			if i > 0 {
				p.f(",")
			}
			p.f("%d", d)
		}
		p.f("]")
	}
	if t.GetName() != "" || initializer {
		p.f(" %s", ident(t.GetName()))
	}
	if initializer {
		p.f(" =")
	}
	if t.GetDataLocation() == onnxpb.TensorProto_EXTERNAL {
		p.f(" %s", propsText(t.ExternalData))
		return
	}
	n, err := Elements(t.Dims)
	if err == nil && t.RawData == nil { // a tensor that Graph does not hold itself
		var decoded *Tensor
		if decoded, err = decodeTensor(t); err == nil {
			t = decoded.encode()
		}
	}
	if err != nil || !p.full && n > abbreviateAbove {
		p.f(" {...}")
		return
	}
	p.f(" {%s}", strings.Join(elementsText(t), ", "))
}

// elementsText returns the elements of a tensor. Floating-point types narrower
// than 32 bits are given by their bits, as upstream does.
func elementsText(t *onnxpb.TensorProto) []string {
	raw := t.RawData
	switch typ := DataType(t.GetDataType()); typ {
	case String:
		return mapText(t.StringData, func(s []byte) string { return quote(string(s)) })
	case Float, Complex64:
		return mapText(ViewOf[float32](raw), func(f float32) string { return floatText(float64(f), 32) })
	case Double, Complex128:
		return mapText(ViewOf[float64](raw), func(f float64) string { return floatText(f, 64) })
	case Int64:
		return integersText(ViewOf[int64](raw))
	case Int32:
		return integersText(ViewOf[int32](raw))
	case Int16:
		return integersText(ViewOf[int16](raw))
	case Int8:
		return integersText(ViewOf[int8](raw))
	case Uint64:
		return mapText(ViewOf[uint64](raw), func(u uint64) string { return strconv.FormatUint(u, 10) })
	case Uint32:
		return integersText(ViewOf[uint32](raw))
	case Uint16, Float16, Bfloat16:
		return integersText(ViewOf[uint16](raw))
	case Uint4, Int4, Uint2, Int2, Float4E2M1:
		n, _ := Elements(t.Dims)
		return integersText(unpackBits(raw, typ, n))
	default:
		return integersText(raw)
	}
}

func mapText[T any](items []T, text func(T) string) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = text(item)
	}
	return out
}

func integersText[T Number](items []T) []string {
	return mapText(items, func(v T) string { return strconv.FormatInt(int64(v), 10) })
}

// unpackBits gives each 2 or 4 bit element its own number.
func unpackBits(raw []byte, typ DataType, n int64) []int8 {
	bits := uint(typ.Bits())
	out := make([]int8, n)
	for i := range out {
		at := uint(i) * bits
		if int(at/8) >= len(raw) {
			break
		}
		v := int8(raw[at/8] >> (at % 8) << (8 - bits)) // the element in the top bits
		if typ == Int4 || typ == Int2 {
			out[i] = v >> (8 - bits)
		} else {
			out[i] = int8(uint8(v) >> (8 - bits))
		}
	}
	return out
}

func floatText(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	return strconv.FormatFloat(f, 'g', -1, bits)
}

// quote writes a string: the syntax escapes only the quote and the backslash.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// ident writes a name, in quotes when it is none of the syntax's identifiers.
func ident(s string) string {
	if isIdent(s) && !isKeyword(s) {
		return s
	}
	return quote(s)
}

func idents(names []string) string { return strings.Join(mapText(names, ident), ", ") }

func isIdent(s string) bool {
	for i := range len(s) {
		if !isIdentByte(s[i], i == 0) {
			return false
		}
	}
	return s != ""
}

func isIdentByte(c byte, first bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || !first && c >= '0' && c <= '9'
}

// isKeyword reports whether a word begins a type.
func isKeyword(s string) bool {
	if _, ok := typeByName[s]; ok {
		return true
	}
	return slices.Contains([]string{"seq", "map", "optional", "sparse_tensor"}, s)
}

var typeByName = func() map[string]DataType {
	m := map[string]DataType{}
	for t, name := range typeNames {
		if t != Undefined {
			m[name] = t
		}
	}
	return m
}()
