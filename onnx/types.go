package onnx

import (
	"slices"
	"strconv"
	"strings"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// Dim is one dimension of a shape: a number, a symbol such as "h" or "2*h", or
// unknown (the zero Param with a negative Value).
type Dim struct {
	Value int64  // the size, or -1
	Param string // the symbol when Value is -1; empty when nothing is known
}

// Known returns a dimension of a given size.
func Known(n int64) Dim { return Dim{Value: n} }

// Symbol returns a dimension known by name only.
func Symbol(name string) Dim { return Dim{Value: -1, Param: name} }

// Unknown is a dimension of which nothing is known.
var Unknown = Dim{Value: -1}

// IsKnown reports whether the size is a number.
func (d Dim) IsKnown() bool { return d.Value >= 0 }

// String returns the size, the symbol or "?".
func (d Dim) String() string {
	switch {
	case d.Value >= 0:
		return strconv.FormatInt(d.Value, 10)
	case d.Param != "":
		return d.Param
	}
	return "?"
}

// Shape is the dimensions of a value; nil means that not even the rank is
// known, an empty shape is a scalar.
type Shape []Dim

// String returns the shape as "[n,3,h,w]".
func (s Shape) String() string {
	if s == nil {
		return "[...]"
	}
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = d.String()
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// Ints returns the sizes when all are numbers.
func (s Shape) Ints() ([]int64, bool) {
	if s == nil {
		return nil, false
	}
	out := make([]int64, len(s))
	for i, d := range s {
		if !d.IsKnown() {
			return nil, false
		}
		out[i] = d.Value
	}
	return out, true
}

// ShapeOf returns a shape of known sizes.
func ShapeOf(sizes ...int64) Shape {
	s := make(Shape, len(sizes))
	for i, n := range sizes {
		s[i] = Known(n)
	}
	return s
}

// Type is the element type and shape of a value. The zero Type is unknown.
type Type struct {
	Elem  DataType
	Shape Shape

	other *onnxpb.TypeProto // sequences, maps, optionals: kept as they are
}

// IsTensor reports whether the type is that of a tensor.
func (t Type) IsTensor() bool { return t.Elem != Undefined && t.other == nil }

// String returns the type as "float[n,3,h,w]".
func (t Type) String() string {
	switch {
	case t.other != nil:
		return "(not a tensor)"
	case t.Elem == Undefined:
		return "?"
	}
	return t.Elem.String() + t.Shape.String()
}

// equal compares element types and shapes; nil and empty shapes differ.
func (t Type) equal(o Type) bool {
	return t.Elem == o.Elem && t.other == o.other && (t.Shape == nil) == (o.Shape == nil) && slices.Equal(t.Shape, o.Shape)
}

func decodeType(p *onnxpb.TypeProto) Type {
	if p == nil {
		return Type{}
	}
	tensor := p.GetTensorType()
	if tensor == nil {
		return Type{other: p}
	}
	t := Type{Elem: DataType(tensor.GetElemType())}
	if tensor.Shape == nil {
		return t
	}
	t.Shape = make(Shape, len(tensor.Shape.Dim))
	for i, d := range tensor.Shape.Dim {
		switch v := d.Value.(type) {
		case *onnxpb.TensorShapeProto_Dimension_DimValue:
			t.Shape[i] = Known(v.DimValue)
			if v.DimValue < 0 {
				t.Shape[i] = Unknown
			}
		case *onnxpb.TensorShapeProto_Dimension_DimParam:
			t.Shape[i] = Symbol(v.DimParam)
		default:
			t.Shape[i] = Unknown
		}
	}
	return t
}

// encode writes the type into old, keeping what Type does not hold
// (denotations, unknown fields).
func (t Type) encode(old *onnxpb.TypeProto) *onnxpb.TypeProto {
	if t.other != nil {
		return t.other
	}
	if t.Elem == Undefined {
		return old
	}
	if old != nil && old.GetTensorType() != nil && t.equal(decodeType(old)) {
		return old
	}
	p := &onnxpb.TypeProto{}
	tensor := &onnxpb.TypeProto_Tensor{}
	var dims []*onnxpb.TensorShapeProto_Dimension
	if old != nil {
		*p = *old
		if o := old.GetTensorType(); o != nil {
			*tensor = *o
			dims = o.GetShape().GetDim()
		}
	}
	elem := int32(t.Elem)
	tensor.ElemType = &elem
	tensor.Shape = nil
	if t.Shape != nil {
		shape := &onnxpb.TensorShapeProto{}
		if o := old.GetTensorType().GetShape(); o != nil {
			shape.XXX_unrecognized = o.XXX_unrecognized
		}
		for i, d := range t.Shape {
			dim := &onnxpb.TensorShapeProto_Dimension{}
			if i < len(dims) && len(dims) == len(t.Shape) {
				dim.Denotation, dim.XXX_unrecognized = dims[i].Denotation, dims[i].XXX_unrecognized
			}
			switch {
			case d.IsKnown():
				dim.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d.Value}
			case d.Param != "":
				dim.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: d.Param}
			}
			shape.Dim = append(shape.Dim, dim)
		}
		tensor.Shape = shape
	}
	p.Value = &onnxpb.TypeProto_TensorType{TensorType: tensor}
	return p
}
