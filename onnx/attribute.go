package onnx

import (
	"fmt"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// Attribute is a named value of a node that is known when the graph is built.
// Exactly the field that Value's type says is meant:
//
//	float32, int64, []byte, *Tensor, *Graph, []float32, []int64, [][]byte
//
// Other kinds (sparse tensors, type protos, lists of graphs) are kept but not
// looked at: their Value is nil.
type Attribute struct {
	Name  string
	Value any
	Ref   string // in a function body: the attribute of the call to take the value from

	rest *onnxpb.AttributeProto
}

// Attr returns an attribute. Ints and strings of Go's own types are accepted.
func Attr(name string, value any) *Attribute {
	switch v := value.(type) {
	case int:
		value = int64(v)
	case float64:
		value = float32(v)
	case string:
		value = []byte(v)
	case float32, int64, []byte, *Tensor, *Graph, []float32, []int64, [][]byte:
	default:
		panic(fmt.Sprintf("onnx: attribute %q cannot hold a %T", name, value))
	}
	return &Attribute{Name: name, Value: value}
}

func (g *Graph) decodeAttribute(p *onnxpb.AttributeProto) (*Attribute, error) {
	rest := *p
	rest.Name, rest.RefAttrName, rest.Type = nil, nil, nil
	a := &Attribute{Name: p.GetName(), Ref: p.GetRefAttrName(), rest: &rest}
	var err error
	switch attributeType(p) {
	case onnxpb.AttributeProto_FLOAT:
		a.Value, rest.F = p.GetF(), nil
	case onnxpb.AttributeProto_INT:
		a.Value, rest.I = p.GetI(), nil
	case onnxpb.AttributeProto_STRING:
		a.Value, rest.S = p.S, nil
	case onnxpb.AttributeProto_TENSOR:
		rest.T = nil
		if p.T == nil {
			a.Value = (*Tensor)(nil)
			break
		}
		a.Value, err = decodeTensor(p.T)
	case onnxpb.AttributeProto_GRAPH:
		rest.G = nil
		if p.G == nil {
			a.Value = (*Graph)(nil)
			break
		}
		a.Value, err = decodeGraph(p.G, g)
	case onnxpb.AttributeProto_FLOATS:
		a.Value, rest.Floats = p.Floats, nil
	case onnxpb.AttributeProto_INTS:
		a.Value, rest.Ints = p.Ints, nil
	case onnxpb.AttributeProto_STRINGS:
		a.Value, rest.Strings = p.Strings, nil
	default:
		rest.Type = p.Type
	}
	if err != nil {
		return nil, fmt.Errorf("attribute %q: %w", a.Name, err)
	}
	return a, nil
}

// attributeType returns the declared type, or for files of IR version 1, which
// have none, that of the field that is set.
func attributeType(p *onnxpb.AttributeProto) onnxpb.AttributeProto_AttributeType {
	switch {
	case p.Type != nil && p.GetType() != onnxpb.AttributeProto_UNDEFINED:
		return p.GetType()
	case p.F != nil:
		return onnxpb.AttributeProto_FLOAT
	case p.I != nil:
		return onnxpb.AttributeProto_INT
	case p.S != nil:
		return onnxpb.AttributeProto_STRING
	case p.T != nil:
		return onnxpb.AttributeProto_TENSOR
	case p.G != nil:
		return onnxpb.AttributeProto_GRAPH
	case p.Floats != nil:
		return onnxpb.AttributeProto_FLOATS
	case p.Ints != nil:
		return onnxpb.AttributeProto_INTS
	case p.Strings != nil:
		return onnxpb.AttributeProto_STRINGS
	}
	return onnxpb.AttributeProto_UNDEFINED
}

func (a *Attribute) encode() *onnxpb.AttributeProto {
	p := &onnxpb.AttributeProto{}
	if a.rest != nil {
		*p = *a.rest
	}
	p.Name, p.RefAttrName = optional(a.Name), optional(a.Ref)
	typ := onnxpb.AttributeProto_UNDEFINED
	set := a.Ref == "" // a reference carries a type and no value
	switch v := a.Value.(type) {
	case float32:
		typ = onnxpb.AttributeProto_FLOAT
		if set {
			p.F = &v
		}
	case int64:
		typ = onnxpb.AttributeProto_INT
		if set {
			p.I = &v
		}
	case []byte:
		typ = onnxpb.AttributeProto_STRING
		if set {
			p.S = v
			if v == nil {
				p.S = []byte{}
			}
		}
	case *Tensor:
		typ = onnxpb.AttributeProto_TENSOR
		if set && v != nil {
			p.T = v.encode()
		}
	case *Graph:
		typ = onnxpb.AttributeProto_GRAPH
		if set && v != nil {
			p.G = v.encode()
		}
	case []float32:
		typ, p.Floats = onnxpb.AttributeProto_FLOATS, v
	case []int64:
		typ, p.Ints = onnxpb.AttributeProto_INTS, v
	case [][]byte:
		typ, p.Strings = onnxpb.AttributeProto_STRINGS, v
	default:
		return p
	}
	p.Type = &typ
	return p
}
