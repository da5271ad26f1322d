// Package onnxpb holds the protobuf bindings of the ONNX file format. Package
// onnx is what the rest of the project works with.
package onnxpb

//go:generate protoc --gogofast_out=paths=source_relative:. onnx.proto
