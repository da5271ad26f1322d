package runtime

import (
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/daq-sr/daq/onnx"
)

// Tensor is a value of a program: dense, row-major.
//
// Data is a slice with one entry for each element: []float32 (Float),
// []float64 (Double), []int8 to []int64, []uint8 to []uint64, []bool, []string.
// Types below 8 bits have one element for each entry: []uint8 (Uint4, Uint2,
// Float4E2M1) or []int8 (Int4, Int2). 8-bit floats are their bits as []uint8,
// Float16 and Bfloat16 their bits as []uint16.
type Tensor struct {
	Type  onnx.DataType
	Shape []int
	Data  any

	mem     *buffer        // what the arena knows of Data; nil for memory it does not own
	blocked bool           // the layout of Data, see layout.go
	twin    *Tensor        // the same in the other layout, once somebody asked for it
	moments *tensorMoments // what its producer has summed, or nil
}

// Element is a type of the entries of a Tensor.
type Element interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | bool | string
}

// number is an element that can be calculated with.
type number interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

// Of returns a tensor over data, whose type is the one that T stands for by
// itself. The length of data must be that of the shape.
func Of[T Element](shape []int, data []T) (*Tensor, error) {
	var typ onnx.DataType
	switch any(data).(type) {
	case []float32:
		typ = onnx.Float
	case []float64:
		typ = onnx.Double
	case []int8:
		typ = onnx.Int8
	case []int16:
		typ = onnx.Int16
	case []int32:
		typ = onnx.Int32
	case []int64:
		typ = onnx.Int64
	case []uint8:
		typ = onnx.Uint8
	case []uint16:
		typ = onnx.Uint16
	case []uint32:
		typ = onnx.Uint32
	case []uint64:
		typ = onnx.Uint64
	case []bool:
		typ = onnx.Bool
	case []string:
		typ = onnx.String
	}
	n, err := elements(shape)
	if err != nil {
		return nil, err
	}
	if n != len(data) {
		return nil, fmt.Errorf("%d elements for shape %v", len(data), shape)
	}
	return &Tensor{Type: typ, Shape: slices.Clone(shape), Data: data}, nil
}

// New returns a tensor of zeros.
func New(typ onnx.DataType, shape ...int) (*Tensor, error) {
	n, err := elements(shape)
	if err != nil {
		return nil, err
	}
	t := &Tensor{Type: typ, Shape: slices.Clone(shape)}
	if typ == onnx.String {
		t.Data = make([]string, n)
		return t, nil
	}
	size := entryBytes(typ)
	if size == 0 {
		return nil, fmt.Errorf("element type %s is not supported", typ)
	}
	t.Data = viewAs(typ, alignedBytes(n*size))
	return t, nil
}

// Len returns the number of elements.
func (t *Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Float32s returns the elements of a Float tensor, shared with it.
func (t *Tensor) Float32s() ([]float32, error) {
	if d, ok := t.Data.([]float32); ok {
		return d, nil
	}
	return nil, fmt.Errorf("the tensor is %s, not float", t.Type)
}

// Clone returns a copy with its own memory.
func (t *Tensor) Clone() *Tensor {
	c, err := New(t.Type, t.Shape...)
	if err != nil {
		panic(err) // t itself has the type and shape
	}
	copyBlock(c, 0, t, 0, t.Len())
	return c
}

// String returns type and shape as "float[1 3 24 24]".
func (t *Tensor) String() string { return fmt.Sprintf("%s%v", t.Type, t.Shape) }

// check says whether Data has the Go type and length that Type and Shape ask
// for.
func (t *Tensor) check() error {
	n, err := elements(t.Shape)
	if err != nil {
		return err
	}
	if t.Type != onnx.String && entryBytes(t.Type) == 0 {
		return fmt.Errorf("element type %s is not supported", t.Type)
	}
	length := -1
	switch d := t.Data.(type) {
	case []string:
		if t.Type == onnx.String {
			length = len(d)
		}
	default:
		if t.Type != onnx.String && fmt.Sprintf("%T", viewAs(t.Type, nil)) == fmt.Sprintf("%T", d) {
			length = dataLen(d)
		}
	}
	if length < 0 {
		return fmt.Errorf("a %s tensor cannot hold its data as %T", t.Type, t.Data)
	}
	if length != n {
		return fmt.Errorf("%d elements of data for shape %v", length, t.Shape)
	}
	return nil
}

func dataLen(data any) int {
	switch d := data.(type) {
	case []float32:
		return len(d)
	case []float64:
		return len(d)
	case []int8:
		return len(d)
	case []int16:
		return len(d)
	case []int32:
		return len(d)
	case []int64:
		return len(d)
	case []uint8:
		return len(d)
	case []uint16:
		return len(d)
	case []uint32:
		return len(d)
	case []uint64:
		return len(d)
	case []bool:
		return len(d)
	case []string:
		return len(d)
	}
	return -1
}

// FromONNX returns the tensor of a file in the form of the runtime: elements of
// 2 and 4 bits are unpacked, one an entry. Other types share memory with t.
func FromONNX(t *onnx.Tensor) (*Tensor, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	out := &Tensor{Type: t.Type, Shape: make([]int, len(t.Shape))}
	for i, d := range t.Shape {
		if d > math.MaxInt {
			return nil, fmt.Errorf("tensor %q: shape %v is too large", t.Name, t.Shape)
		}
		out.Shape[i] = int(d)
	}
	n := out.Len()
	switch {
	case t.Type == onnx.String:
		s := make([]string, n)
		for i, b := range t.Strings {
			s[i] = string(b)
		}
		out.Data = s
	case t.Type == onnx.Bool:
		b := make([]bool, n)
		for i, v := range t.Data {
			b[i] = v != 0
		}
		out.Data = b
	case t.Type.Bits() < 8:
		out.Data = unpack(t.Type, t.Data, n)
	case entryBytes(t.Type) == 0:
		return nil, fmt.Errorf("tensor %q: element type %s is not supported", t.Name, t.Type)
	default:
		data := t.Data
		if size := entryBytes(t.Type); n > 0 && uintptr(unsafe.Pointer(&data[0]))%uintptr(size) != 0 {
			data = alignedBytes(len(t.Data))
			copy(data, t.Data)
		}
		out.Data = viewAs(t.Type, data)
	}
	return out, nil
}

// ONNX returns the tensor as a file stores it; elements below 8 bits are
// packed, the first in the low bits. Other types share memory with t.
func (t *Tensor) ONNX() *onnx.Tensor {
	out := &onnx.Tensor{Type: t.Type, Shape: make([]int64, len(t.Shape))}
	for i, d := range t.Shape {
		out.Shape[i] = int64(d)
	}
	switch {
	case t.Type == onnx.String:
		for _, s := range t.Data.([]string) {
			out.Strings = append(out.Strings, []byte(s))
		}
	case t.Type.Bits() < 8:
		out.Data = pack(t.Type, bytesOf(t))
	default:
		out.Data = bytesOf(t)
	}
	return out
}

// unpack spreads packed elements of 2 or 4 bits over an entry each, with the
// sign for signed types.
func unpack(typ onnx.DataType, packed []byte, n int) any {
	bits := typ.Bits()
	perByte := 8 / bits
	codes := make([]uint8, n)
	for i := range codes {
		codes[i] = packed[i/perByte] >> (i % perByte * bits) & (1<<bits - 1)
	}
	if typ != onnx.Int4 && typ != onnx.Int2 {
		return codes
	}
	signed := make([]int8, n)
	for i, c := range codes {
		signed[i] = int8(c<<(8-bits)) >> (8 - bits)
	}
	return signed
}

func pack(typ onnx.DataType, codes []byte) []byte {
	bits := typ.Bits()
	perByte := 8 / bits
	packed := make([]byte, (len(codes)+perByte-1)/perByte)
	for i, c := range codes {
		packed[i/perByte] |= c & (1<<bits - 1) << (i % perByte * bits)
	}
	return packed
}

// entryBytes returns the size of one entry of Data; 0 for types that are not
// supported, and for strings.
func entryBytes(typ onnx.DataType) int {
	switch typ {
	case onnx.Float, onnx.Int32, onnx.Uint32:
		return 4
	case onnx.Double, onnx.Int64, onnx.Uint64:
		return 8
	case onnx.Int16, onnx.Uint16, onnx.Float16, onnx.Bfloat16:
		return 2
	case onnx.Complex64, onnx.Complex128, onnx.String, onnx.Float6E2M3, onnx.Float6E3M2:
		return 0
	}
	if typ.Bits() == 0 {
		return 0
	}
	return 1
}

// alignedBytes returns zeroed memory that starts at an 8-byte boundary.
func alignedBytes(n int) []byte {
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), n)
}

// viewAs returns memory as the slice type that Data has for an element type.
func viewAs(typ onnx.DataType, b []byte) any {
	switch typ {
	case onnx.Float:
		return sliceOf[float32](b)
	case onnx.Double:
		return sliceOf[float64](b)
	case onnx.Int64:
		return sliceOf[int64](b)
	case onnx.Uint64:
		return sliceOf[uint64](b)
	case onnx.Int32:
		return sliceOf[int32](b)
	case onnx.Uint32:
		return sliceOf[uint32](b)
	case onnx.Int16:
		return sliceOf[int16](b)
	case onnx.Uint16, onnx.Float16, onnx.Bfloat16:
		return sliceOf[uint16](b)
	case onnx.Int8, onnx.Int4, onnx.Int2:
		return sliceOf[int8](b)
	case onnx.Bool:
		return sliceOf[bool](b)
	}
	return b
}

func sliceOf[T any](b []byte) []T {
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(zero)))
}

// bytesOf returns the memory of a tensor that does not hold strings.
func bytesOf(t *Tensor) []byte {
	switch d := t.Data.(type) {
	case []float32:
		return asBytes(d)
	case []float64:
		return asBytes(d)
	case []int8:
		return asBytes(d)
	case []int16:
		return asBytes(d)
	case []int32:
		return asBytes(d)
	case []int64:
		return asBytes(d)
	case []uint8:
		return d
	case []uint16:
		return asBytes(d)
	case []uint32:
		return asBytes(d)
	case []uint64:
		return asBytes(d)
	case []bool:
		return asBytes(d)
	}
	panic(fmt.Sprintf("a %s tensor has no bytes", t.Type))
}

func asBytes[T any](s []T) []byte {
	var zero T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(zero)))
}

// elements returns the product of the dimensions.
func elements(shape []int) (int, error) {
	n := 1
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("negative dimension in shape %v", slices.Clone(shape)) // a copy: callers' shapes stay on their stack
		}
		if d > 0 && n > math.MaxInt/16/d {
			return 0, fmt.Errorf("shape %v is too large", slices.Clone(shape))
		}
		n *= d
	}
	return n, nil
}

// strides returns the distance in elements between neighbours of each
// dimension of a dense tensor.
func strides(shape []int) []int {
	s := make([]int, len(shape))
	n := 1
	for i := len(shape) - 1; i >= 0; i-- {
		s[i] = n
		n *= shape[i]
	}
	return s
}

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
