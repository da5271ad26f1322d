package onnx

import (
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// Tensor is a constant: an initializer or the value of an attribute, as a file
// stores it.
type Tensor struct {
	Name    string
	Type    DataType
	Shape   []int64
	Data    []byte   // raw_data: little-endian, sub-byte types packed with the first element in the low bits
	Strings [][]byte // elements of a String tensor

	rest *onnxpb.TensorProto // what the fields above do not hold: doc string, metadata, unknown fields
}

// Number is an element that the typed views of a Tensor give.
type Number interface {
	~float32 | ~float64 | ~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// NewTensor returns a tensor over a copy-free view of data.
func NewTensor[T Number](typ DataType, shape []int64, data []T) *Tensor {
	return &Tensor{Type: typ, Shape: slices.Clone(shape), Data: BytesOf(data)}
}

// NewTensorBytes returns a tensor over raw_data, the form of sub-byte types.
func NewTensorBytes(typ DataType, shape []int64, raw []byte) *Tensor {
	return &Tensor{Type: typ, Shape: slices.Clone(shape), Data: raw}
}

// Floats returns a float tensor.
func Floats(shape []int64, data ...float32) *Tensor { return NewTensor(Float, shape, data) }

// Int64s returns a vector of int64, the form of shapes, axes and pads.
func Int64s(data ...int64) *Tensor { return NewTensor(Int64, []int64{int64(len(data))}, data) }

// Scalar returns a float tensor of rank 0.
func Scalar(v float32) *Tensor { return NewTensor(Float, nil, []float32{v}) }

// Elements returns the number of elements, or an error when a dimension is
// negative or the product overflows.
func (t *Tensor) Elements() (int64, error) { return Elements(t.Shape) }

// Elements returns the product of the dimensions.
func Elements(shape []int64) (int64, error) {
	n := int64(1)
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("negative dimension in shape %v", shape)
		}
		if d > 0 && n > math.MaxInt64/16/d {
			return 0, fmt.Errorf("shape %v is too large", shape)
		}
		n *= d
	}
	return n, nil
}

// Check says whether the data have the size that type and shape ask for.
func (t *Tensor) Check() error {
	n, err := t.Elements()
	if err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if t.Type == String {
		if int64(len(t.Strings)) != n {
			return fmt.Errorf("tensor %q: %d strings for shape %v", t.Name, len(t.Strings), t.Shape)
		}
		return nil
	}
	if t.Type.Bits() == 0 {
		return fmt.Errorf("tensor %q: unknown element type %d", t.Name, int32(t.Type))
	}
	if want := t.Type.Bytes(n); int64(len(t.Data)) != want {
		return fmt.Errorf("tensor %q: %d bytes of data, %s%v needs %d", t.Name, len(t.Data), t.Type, t.Shape, want)
	}
	return nil
}

// Float32s returns the elements of a float tensor. The slice shares memory
// with the tensor.
func (t *Tensor) Float32s() ([]float32, error) { return view[float32](t, Float) }

// Int64s returns the elements of an int64 tensor. The slice shares memory with
// the tensor.
func (t *Tensor) Int64s() ([]int64, error) { return view[int64](t, Int64) }

func view[T Number](t *Tensor, want DataType) ([]T, error) {
	if t.Type != want {
		return nil, fmt.Errorf("tensor %q is %s, not %s", t.Name, t.Type, want)
	}
	return ViewOf[T](t.Data), nil
}

// BytesOf returns the memory of a slice as bytes. ONNX data are little-endian,
// as are all processors this program is built for.
func BytesOf[T Number](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0])))
}

// ViewOf returns bytes as a slice of T, without a copy where the alignment
// allows.
func ViewOf[T Number](b []byte) []T {
	var zero T
	size := int(unsafe.Sizeof(zero))
	if len(b) < size {
		return nil
	}
	if uintptr(unsafe.Pointer(&b[0]))%uintptr(size) != 0 {
		aligned := make([]T, len(b)/size)
		copy(BytesOf(aligned), b)
		return aligned
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), len(b)/size)
}

// Clone returns a tensor with its own shape; the data are shared.
func (t *Tensor) Clone() *Tensor {
	c := *t
	c.Shape = slices.Clone(t.Shape)
	return &c
}

// decodeTensor reads a tensor whose data are in the protobuf itself.
func decodeTensor(p *onnxpb.TensorProto) (*Tensor, error) {
	rest := *p
	t := &Tensor{Name: p.GetName(), Type: DataType(p.GetDataType()), Shape: slices.Clone(p.Dims), rest: &rest}
	rest.Name, rest.DataType, rest.Dims = nil, nil, nil
	rest.RawData, rest.FloatData, rest.Int32Data, rest.Int64Data = nil, nil, nil, nil
	rest.DoubleData, rest.Uint64Data, rest.StringData = nil, nil, nil
	if !knownType(onnxpb.TensorProto_DataType(p.GetDataType())) {
		return nil, fmt.Errorf("tensor %q: unknown element type %d", t.Name, p.GetDataType())
	}
	if p.Segment != nil {
		return nil, fmt.Errorf("tensor %q is stored in segments, which no exporter writes: save the model again with a current onnx", t.Name)
	}
	n, err := t.Elements()
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	switch {
	case p.GetDataLocation() == onnxpb.TensorProto_EXTERNAL:
		return t, nil
	case t.Type == String:
		t.Strings = p.StringData
	case p.RawData != nil:
		t.Data = p.RawData
	default:
		t.Data = typedData(t.Type, n, p)
	}
	return t, t.Check()
}

// typedData brings the typed fields of TensorProto into the form of raw_data.
func typedData(typ DataType, n int64, p *onnxpb.TensorProto) []byte {
	switch typ {
	case Float, Complex64:
		return BytesOf(p.FloatData)
	case Double, Complex128:
		return BytesOf(p.DoubleData)
	case Int64:
		return BytesOf(p.Int64Data)
	case Uint64:
		return BytesOf(p.Uint64Data)
	case Uint32:
		return narrow[uint32](p.Uint64Data)
	case Int32:
		return BytesOf(p.Int32Data)
	case Uint16, Int16, Float16, Bfloat16:
		return narrow[uint16](p.Int32Data)
	case Uint4, Int4, Uint2, Int2, Float4E2M1:
		// One int32 holds one byte of packed elements.
		return narrow[uint8](p.Int32Data)
	default:
		return narrow[uint8](p.Int32Data)
	}
}

func narrow[T, S Number](s []S) []byte {
	out := make([]T, len(s))
	for i, v := range s {
		out[i] = T(v)
	}
	return BytesOf(out)
}

func (t *Tensor) encode() *onnxpb.TensorProto {
	p := &onnxpb.TensorProto{}
	if t.rest != nil {
		*p = *t.rest
	}
	p.Name, p.Dims = optional(t.Name), t.Shape
	typ := int32(t.Type)
	p.DataType = &typ
	switch {
	case p.GetDataLocation() == onnxpb.TensorProto_EXTERNAL:
	case t.Type == String:
		p.StringData = t.Strings
	default:
		p.RawData = t.Data
		if p.RawData == nil {
			p.RawData = []byte{}
		}
	}
	return p
}

// optional gives a string field its pointer; an empty string is left out.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
