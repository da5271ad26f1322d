package target

import "github.com/daq-sr/daq/onnx"

// All returns the targets, portable first.
func All() []*Target {
	return []*Target{portable, onnxruntime, openvino, tensorrt, web, storage}
}

// portable: any runtime that knows model-local functions or, inlined, standard
// operators of opset 11.
var portable = &Target{
	Name: "portable", For: "any ONNX runtime",
	Modes:    []Mode{Dynamic},
	MinOpset: 11, MaxOpset: 26,
}

// onnxruntime: the CPU provider of ONNX Runtime 1.20 and later.
var onnxruntime = &Target{
	Name: "onnxruntime", For: "ONNX Runtime on CPUs",
	Modes:       []Mode{Static},
	Activations: Activations{Type: onnx.Uint8, IntegerClip: true},
	Weights:     Weights{Type: onnx.Int8, Symmetric: true, PerAxis: true, PairSum: 128, RoundsFloat: true},
	Channels:    Channels{Multiple: 4, Outputs: 16},
	MinOpset:    13, MaxOpset: 26,
	FloatProducts: true,
	Operators: map[string]Form{
		"Conv": Integer, "Add": Integer, "Mul": Integer, "Concat": Integer, "LeakyRelu": Integer, "Sigmoid": Integer,
		"AveragePool": Integer, "GlobalAveragePool": Integer, "Softmax": Integer, "Where": Integer, "MatMul": Integer,
		"DepthToSpace": Moves, "Transpose": Moves, "Reshape": Moves, "MaxPool": Moves, "Resize": Moves, "Split": Moves,
		"Slice": Moves, "Gather": Moves, "Squeeze": Moves, "Unsqueeze": Moves, "Flatten": Moves, "Expand": Moves,
		"Relu": Absorbed,
	},
}

// web: the WebAssembly provider of ONNX Runtime Web has the kernels of
// onnxruntime; its u8 x s8 products are exact.
var web = &Target{
	Name: "web", For: "ONNX Runtime Web (WebAssembly)",
	Modes:       onnxruntime.Modes,
	Activations: onnxruntime.Activations,
	Weights:     Weights{Type: onnx.Int8, Symmetric: true, PerAxis: true, PairSum: 128, RoundsFloat: true},
	MinOpset:    13, MaxOpset: 23,
	Operators: onnxruntime.Operators,
}

// openvino: per-tensor activations; Q/DQ become FakeQuantize, which moves through
// data movement by itself but not through the 6-D PixelShuffle.
var openvino = &Target{
	Name: "openvino", For: "OpenVINO on CPUs",
	Modes:       []Mode{Static},
	Activations: Activations{Type: onnx.Uint8},
	Weights:     Weights{Type: onnx.Int8, Symmetric: true, PerAxis: true},
	MinOpset:    13, MaxOpset: 21,
	Operators: map[string]Form{
		"Conv": Integer, "ConvTranspose": Integer, "Add": Integer, "Concat": Integer,
		"DepthToSpace": Moves, "MaxPool": Moves, "Resize": Moves, "Split": Moves,
		"Relu": Absorbed, "LeakyRelu": Absorbed, "PRelu": Absorbed,
	},
}

// tensorrt: symmetric scales only; the residual branch of an Add is quantized, the
// other one fused into the convolution in front of it; nothing before Resize.
var tensorrt = &Target{
	Name: "tensorrt", For: "TensorRT 8.6 and later",
	Modes:       []Mode{Static},
	Activations: Activations{Type: onnx.Int8, Symmetric: true},
	Weights:     Weights{Type: onnx.Int8, Symmetric: true, PerAxis: true},
	MinOpset:    13, MaxOpset: 21,
	SumsIntoConv: true,
	Operators: map[string]Form{
		"Conv": Integer, "ConvTranspose": Integer, "Add": Integer, "Concat": Integer, "MaxPool": Moves,
		"Relu": Absorbed, "LeakyRelu": Absorbed,
		"Resize": Bare,
	},
}

// storage: weights alone, in as few bits as the file format has; blocks and types of 4 bits
// need opset 21 (ONNX Runtime 1.20), of 2 bits opset 25 (1.24).
var storage = &Target{
	Name: "storage", For: "small files, computed in float",
	Modes:    []Mode{Static},
	Weights:  Weights{Type: onnx.Int8, Sub8: []onnx.DataType{onnx.Int4, onnx.Int2}, PerAxis: true, Block: 32},
	MinOpset: 13, MaxOpset: 25,
}
