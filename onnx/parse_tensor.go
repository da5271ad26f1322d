package onnx

import (
	"slices"
	"strconv"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

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
