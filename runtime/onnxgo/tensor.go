package onnxgo

import (
	"fmt"
	"slices"

	"gorgonia.org/tensor"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// fromTensor returns a tensor over the memory of t, or over a copy where t is a
// view that is not dense.
func fromTensor(t tensor.Tensor) (*runtime.Tensor, error) {
	d, ok := t.(*tensor.Dense)
	if !ok || d == nil {
		return nil, fmt.Errorf("a %T is not a dense tensor", t)
	}
	if d.IsMaterializable() {
		d = d.Materialize().(*tensor.Dense)
	}
	if d.DataOrder().IsColMajor() {
		return nil, fmt.Errorf("the tensor is stored column by column: make it row-major")
	}
	shape := slices.Clone([]int(d.Shape()))
	// A tensor of one element gives the element instead of a slice.
	switch data := d.Data().(type) {
	case []float32:
		return runtime.Of(shape, data)
	case float32:
		return runtime.Of(shape, []float32{data})
	case []float64:
		return runtime.Of(shape, data)
	case float64:
		return runtime.Of(shape, []float64{data})
	case []int64:
		return runtime.Of(shape, data)
	case int64:
		return runtime.Of(shape, []int64{data})
	case []int32:
		return runtime.Of(shape, data)
	case int32:
		return runtime.Of(shape, []int32{data})
	case []uint8:
		return runtime.Of(shape, data)
	case uint8:
		return runtime.Of(shape, []uint8{data})
	case []int8:
		return runtime.Of(shape, data)
	case int8:
		return runtime.Of(shape, []int8{data})
	case []bool:
		return runtime.Of(shape, data)
	case bool:
		return runtime.Of(shape, []bool{data})
	}
	return nil, fmt.Errorf("element type %v is not supported", d.Dtype())
}

// toTensor returns a tensor over the memory of t.
func toTensor(t *runtime.Tensor) (tensor.Tensor, error) {
	if slices.Contains(t.Shape, 0) {
		return nil, fmt.Errorf("shape %v is empty, which package tensor cannot hold", t.Shape)
	}
	switch t.Type {
	case onnx.Float, onnx.Double, onnx.Int64, onnx.Int32, onnx.Uint8, onnx.Int8, onnx.Bool:
		return tensor.New(tensor.WithShape(t.Shape...), tensor.WithBacking(t.Data)), nil
	}
	return nil, fmt.Errorf("package tensor has no element type for %s", t.Type)
}

// placeholderType is the type that a graph input declares, without its shape.
func placeholderType(t tensor.Tensor) onnx.Type {
	if t == nil {
		return onnx.Type{}
	}
	types := map[tensor.Dtype]onnx.DataType{
		tensor.Float32: onnx.Float, tensor.Float64: onnx.Double, tensor.Int64: onnx.Int64, tensor.Int32: onnx.Int32,
		tensor.Uint8: onnx.Uint8, tensor.Int8: onnx.Int8, tensor.Bool: onnx.Bool,
	}
	return onnx.Type{Elem: types[t.Dtype()]}
}
