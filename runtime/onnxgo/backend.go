// Package onnxgo runs models that github.com/owulveryck/onnx-go decodes on
// this project's runtime:
//
//	backend := onnxgo.New(17) // the opset version of the file
//	model := onnx.NewModel(backend)
//	err := model.UnmarshalBinary(data)
//	err = model.SetInput(0, image) // float32, NCHW
//	err = backend.Run()
//	outputs, err := model.GetOutputTensors()
//
// or, for a file that is not trusted or whose opset is not known,
//
//	model, backend, err := onnxgo.Load(data)
//
// The result is bit for bit that of the runtime itself on the same file.
//
// # Limits
//
// What onnx-go v0.5.0 drops while decoding cannot be had back:
//
//   - The opset version: New asks for it, Load reads it from the file. With a
//     wrong one operators may be taken for what they were in another version.
//   - Domains and model-local functions: a call of a function, as in the
//     quantized networks of this project, is an unknown operator.
//   - Symbolic dimensions: the placeholder of an input float[n,3,h,w] is a
//     tensor of shape [3]. An input therefore takes any shape; only its element
//     type is checked.
//   - Node names: messages name a node by its first output.
//
// What it cannot decode it refuses itself: attributes that are graphs (If,
// Loop, Scan), sparse or external tensors, constants that are empty or of
// another type than float, double, int32, int64 and bool, and so all packed 2-
// to 8-bit weights. Damaged files can make it panic; Load returns that as an
// error.
//
// model.SetInput(i, t) means node i, not input i. Both are the same as long as
// the file does not list initializers among its graph inputs (IR version 3 did);
// Backend.SetInput, by name, always works.
package onnxgo

import (
	"fmt"
	"math"

	"github.com/owulveryck/onnx-go"
	"github.com/owulveryck/onnx-go/backend"
	"gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/simple"
	"gorgonia.org/tensor"

	"github.com/daq-sr/daq/runtime"
)

var _ backend.ComputationBackend = (*Backend)(nil)

// Backend receives one model from onnx-go and runs it. It is for one goroutine
// at a time.
type Backend struct {
	Threads int      // worker threads; 0 is one for each processor
	Keep    []string // values to keep besides the outputs, see Run

	graph.WeightedDirected // edges lead from a value to those it is calculated from

	opset      int64
	edges      *simple.WeightedDirectedGraph
	values     []*value // by ID, in the order in which the decoder makes them
	operations []*operation
	program    *program // nil until Run, and after a constant was changed
}

// value is a node of onnx-go's graph, which is a tensor: an input, an
// initializer or what an operator gives.
type value struct {
	backend  *Backend
	id       int64
	name     string
	tensor   tensor.Tensor
	declared int  // tensors set before the first operator: a placeholder, an initializer, or both
	set      bool // by the user, after decoding
	args     []*value
	producer *operation
}

// operation is one application of an operator.
type operation struct {
	name       string
	attributes map[string]any
	inputs     []*value
	outputs    []*value
}

// New returns a backend to pass to onnx.NewModel, for a model that imports the
// given version of the default domain.
func New(opset int64) *Backend {
	edges := simple.NewWeightedDirectedGraph(0, math.Inf(1))
	return &Backend{WeightedDirected: edges, opset: opset, edges: edges}
}

// NewNode makes a value with the next ID; IDs count from 0.
func (b *Backend) NewNode() graph.Node {
	v := &value{backend: b, id: int64(len(b.values))}
	b.values = append(b.values, v)
	return v
}

// AddNode adds a value that NewNode made.
func (b *Backend) AddNode(n graph.Node) { b.edges.AddNode(n) }

// NewWeightedEdge returns the edge that says that from is calculated from to,
// as input number weight.
func (b *Backend) NewWeightedEdge(from, to graph.Node, weight float64) graph.WeightedEdge {
	return b.edges.NewWeightedEdge(from, to, weight)
}

// SetWeightedEdge adds an edge. An operator may read one value several times,
// which a simple graph cannot hold: the inputs are kept beside it.
func (b *Backend) SetWeightedEdge(e graph.WeightedEdge) {
	from, to := e.From().(*value), e.To().(*value)
	from.args = append(from.args, to) // they come in the order of the inputs
	if from != to {
		b.edges.SetWeightedEdge(e)
	}
}

// ApplyOperation says which operator calculates the values ns.
func (b *Backend) ApplyOperation(o onnx.Operation, ns ...graph.Node) error {
	op := &operation{name: o.Name, attributes: o.Attributes}
	for _, n := range ns {
		v := n.(*value)
		op.outputs = append(op.outputs, v)
		if v.name == "" { // all outputs that are left out share one value
			continue
		}
		if v.producer != nil {
			return fmt.Errorf("operator %s: the name %q is given to two values, each must have its own", o.Name, v.name)
		}
		v.producer, op.inputs = op, v.args
	}
	if op.label() == "" {
		return fmt.Errorf("operator %s has no output", o.Name)
	}
	b.operations = append(b.operations, op)
	return nil
}

// label is the name of the first output.
func (o *operation) label() string {
	for _, v := range o.outputs {
		if v.name != "" {
			return v.name
		}
	}
	return ""
}

// SetInput sets a graph input by its name.
func (b *Backend) SetInput(name string, t tensor.Tensor) error {
	for _, v := range b.values {
		if v.name == name {
			return v.SetTensor(t)
		}
	}
	return fmt.Errorf("the model has no value %q", name)
}

// ID, SetName and GetName make the value an onnx.Namer.

func (v *value) ID() int64        { return v.id }
func (v *value) SetName(s string) { v.name = s }
func (v *value) GetName() string  { return v.name }

// SetTensor takes a placeholder or an initializer from the decoder or, once the
// model is decoded, an input from the user.
func (v *value) SetTensor(t tensor.Tensor) error {
	if len(v.backend.operations) == 0 {
		v.tensor = t
		v.declared++
		return nil
	}
	if _, err := fromTensor(t); err != nil {
		return fmt.Errorf("%q: %w", v.name, err)
	}
	v.tensor, v.set = t, true
	if p := v.backend.program; p != nil && !p.isInput(v) {
		v.backend.program = nil
	}
	return nil
}

// GetTensor returns the tensor that was set or, after Run, calculated: nil for
// a value that Run did not keep.
func (v *value) GetTensor() tensor.Tensor { return v.tensor }

// program is the compiled model.
type program struct {
	run     *runtime.Program
	inputs  map[string]*value
	outputs map[string]*value
}

func (p *program) isInput(v *value) bool { return p.inputs[v.name] == v }
