package onnx

import (
	"fmt"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// DataType is the element type of a tensor (ONNX IR, TensorProto.DataType).
type DataType int32

// The element types of the ONNX specification.
const (
	Undefined      DataType = 0
	Float          DataType = 1
	Uint8          DataType = 2
	Int8           DataType = 3
	Uint16         DataType = 4
	Int16          DataType = 5
	Int32          DataType = 6
	Int64          DataType = 7
	String         DataType = 8
	Bool           DataType = 9
	Float16        DataType = 10
	Double         DataType = 11
	Uint32         DataType = 12
	Uint64         DataType = 13
	Complex64      DataType = 14
	Complex128     DataType = 15
	Bfloat16       DataType = 16
	Float8E4M3FN   DataType = 17
	Float8E4M3FNUZ DataType = 18
	Float8E5M2     DataType = 19
	Float8E5M2FNUZ DataType = 20
	Uint4          DataType = 21
	Int4           DataType = 22
	Float4E2M1     DataType = 23
	Float8E8M0     DataType = 24
	Uint2          DataType = 25
	Int2           DataType = 26
	Float6E2M3     DataType = 27
	Float6E3M2     DataType = 28
)

var typeBits = map[DataType]int{
	Float: 32, Uint8: 8, Int8: 8, Uint16: 16, Int16: 16, Int32: 32, Int64: 64, Bool: 8,
	Float16: 16, Double: 64, Uint32: 32, Uint64: 64, Complex64: 64, Complex128: 128, Bfloat16: 16,
	Float8E4M3FN: 8, Float8E4M3FNUZ: 8, Float8E5M2: 8, Float8E5M2FNUZ: 8, Uint4: 4, Int4: 4,
	Float4E2M1: 4, Float8E8M0: 8, Uint2: 2, Int2: 2, Float6E2M3: 8, Float6E3M2: 8,
}

// Bits returns the size of one element in raw_data in bits; 0 for strings and
// unknown types.
func (t DataType) Bits() int { return typeBits[t] }

// Bytes returns the size in bytes of count packed elements; it does not
// overflow for what Elements returns.
func (t DataType) Bytes(count int64) int64 {
	if bits := int64(t.Bits()); bits < 8 {
		return (count*bits + 7) / 8
	} else {
		return count * (bits / 8)
	}
}

// String returns the name the specification gives the type, in lower case.
func (t DataType) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type(%d)", int32(t))
}

var typeNames = map[DataType]string{
	Undefined: "undefined", Float: "float", Uint8: "uint8", Int8: "int8", Uint16: "uint16", Int16: "int16",
	Int32: "int32", Int64: "int64", String: "string", Bool: "bool", Float16: "float16", Double: "double",
	Uint32: "uint32", Uint64: "uint64", Complex64: "complex64", Complex128: "complex128", Bfloat16: "bfloat16",
	Float8E4M3FN: "float8e4m3fn", Float8E4M3FNUZ: "float8e4m3fnuz", Float8E5M2: "float8e5m2",
	Float8E5M2FNUZ: "float8e5m2fnuz", Uint4: "uint4", Int4: "int4", Float4E2M1: "float4e2m1",
	Float8E8M0: "float8e8m0", Uint2: "uint2", Int2: "int2", Float6E2M3: "float6e2m3", Float6E3M2: "float6e3m2",
}

// MinOpset returns the lowest opset version of the default domain whose
// standard operators know the type (Cast, QuantizeLinear).
func (t DataType) MinOpset() int64 {
	switch t {
	case Uint2, Int2:
		return 25
	case Float8E8M0:
		return 24
	case Float4E2M1:
		return 23
	case Uint4, Int4:
		return 21
	case Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ:
		return 19
	case Bfloat16:
		return 13
	}
	return 1
}

// IRVersionFor returns the lowest IR version that goes with an opset version
// of the default domain (ONNX docs/Versioning.md).
func IRVersionFor(opset int64) int64 {
	for _, r := range []struct{ opset, ir int64 }{
		{26, 14}, {25, 13}, {24, 12}, {23, 11}, {21, 10}, {19, 9}, {15, 8}, {12, 7}, {11, 6}, {10, 5}, {9, 4},
	} {
		if opset >= r.opset {
			return r.ir
		}
	}
	return 3
}

func knownType(t onnxpb.TensorProto_DataType) bool {
	_, ok := typeNames[DataType(t)]
	return ok && t != 0
}
