package lint

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// typeRules: types and parts of the file format that a runtime lacks.
var typeRules = []Rule{
	{
		ID: "type-opset", Level: Error, Basis: "ONNX operator specification; run in ONNX Runtime 1.20 to 1.32",
		Title:  "the element type of a constant is newer than the opset of the model",
		Remedy: "raise the opset: 21 for int4 and uint4, 23 for float4, 25 for int2 and uint2; or store 8-bit codes",
		check: func(v *view, report reporter) {
			opset := v.model.Opset("")
			for _, c := range v.narrow() {
				if need := c.tensor.Type.MinOpset(); opset < need && !slices.ContainsFunc(c.readers, func(n *onnx.Node) bool { return n.Domain == microsoft }) {
					report(c.readers[0], c.name, "%q is %s, which needs opset %d; the model has %d", c.name, c.tensor.Type, need, opset)
				}
			}
		},
	},
	{
		ID: "type-ir", Level: Note, Basis: "ONNX IR specification; ONNX Runtime 1.20 to 1.32 and OpenVINO 2026.4 load such files all the same",
		Title:  "the IR version of the file is older than an element type in it",
		Remedy: "set ir_version to 10 for int4 and uint4, 13 for int2 and uint2",
		check: func(v *view, report reporter) {
			for _, c := range v.narrow() {
				if need := onnx.IRVersionFor(c.tensor.Type.MinOpset()); v.model.IRVersion < need {
					report(c.readers[0], c.name, "%q is %s, which needs IR version %d; the file says %d", c.name, c.tensor.Type, need, v.model.IRVersion)
				}
			}
		},
	},
	{
		ID: "type-int2-old", Level: Error, Targets: ort, Until: "1.23", Basis: measured,
		Title:  "2-bit types are not known",
		Remedy: "use ONNX Runtime 1.24, or store the codes in 4 or 8 bits",
		check:  narrowerThan(4),
	},
	{
		ID: "type-int2", Level: Error, Targets: []string{"openvino"}, Basis: "run in OpenVINO 2026.4 (CPU)",
		Title:  "2-bit types are not known: the model is not read",
		Remedy: "store the codes in 4 or 8 bits",
		check:  narrowerThan(4),
	},
	{
		ID: "functions", Level: Warning, Targets: []string{"tensorrt"}, Basis: "not run here: the parser of 10.x imports local functions (NVIDIA/TensorRT#4113, onnx-tensorrt#978, both of 2024); from which release on is not stated",
		Title:  "model-local functions are not known to old releases",
		Remedy: "write standard operators only: daq quantize --inline",
		check: func(v *view, report reporter) {
			if len(v.model.Functions) > 0 {
				report(nil, "", "the model has %d functions, the first is %s", len(v.model.Functions), v.model.Functions[0])
			}
		},
	},
	{
		ID: "external-data", Level: Note, Basis: "ONNX Runtime Web documentation, external data",
		Title:  "weights lie in a file beside the model",
		Remedy: "keep both files together under these names; in a browser pass the data with the session option externalData",
		check: func(v *view, report reporter) {
			for _, name := range v.external {
				report(nil, name, "tensors are stored in %q", name)
			}
		},
	},
}

// narrowConstant is a constant of a type that came after opset 13.
type narrowConstant struct {
	name    string
	tensor  *onnx.Tensor
	readers []*onnx.Node
}

// narrow lists the constants with late types, each once, in the order of their first
// readers.
func (v *view) narrow() []narrowConstant {
	var list []narrowConstant
	seen := map[*onnx.Value]bool{}
	for _, n := range v.nodes {
		for _, x := range n.Inputs {
			if x == nil || seen[x] {
				continue
			}
			seen[x] = true
			if t := constant(x); t != nil && t.Type.MinOpset() > 13 {
				c := narrowConstant{name: x.Name, tensor: t}
				zeros := true // of DequantizeLinear: their codes are named
				for _, u := range x.Uses() {
					c.readers = append(c.readers, u.Node)
					zeros = zeros && u.Index == 2 && isLinear(u.Node, "DequantizeLinear")
				}
				if !zeros {
					list = append(list, c)
				}
			}
		}
	}
	return list
}

func narrowerThan(bits int) func(*view, reporter) {
	return func(v *view, report reporter) {
		for _, c := range v.narrow() {
			if c.tensor.Type.Bits() < bits {
				report(c.readers[0], c.name, "%q is %s", c.name, c.tensor.Type)
			}
		}
	}
}
