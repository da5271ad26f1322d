package onnx

import (
	"slices"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// Model is one ONNX file.
type Model struct {
	IRVersion       int64
	Opsets          []Opset
	Producer        string
	ProducerVersion string
	Domain          string
	Version         int64 // of the model, as its author counts
	Doc             string
	Metadata        []Property
	Graph           *Graph
	Functions       []*Function
	External        []string // files beside the model that Load read tensors from, sorted

	rest *onnxpb.ModelProto
}

// Opset is a version of a domain of operators that a model or function
// imports. The default domain is "".
type Opset struct {
	Domain  string
	Version int64
}

// Property is a key and value of metadata_props.
type Property struct{ Key, Value string }

// Function is a function that the model defines (ONNX docs/IR.md, Functions).
// The inputs and outputs of Body are those of the function.
type Function struct {
	Domain, Name, Overload string
	Attrs                  []string     // attributes that a call must give
	Defaults               []*Attribute // attributes that a call may give
	Opsets                 []Opset
	Body                   *Graph

	rest *onnxpb.FunctionProto
}

// NewModel returns a model over a graph with one opset of the default domain.
func NewModel(g *Graph, opset int64) *Model {
	return &Model{IRVersion: IRVersionFor(opset), Opsets: []Opset{{Version: opset}}, Graph: g}
}

// Opset returns the imported version of a domain, 0 when it is not imported.
// "ai.onnx" is another name of the default domain.
func (m *Model) Opset(domain string) int64 { return opsetOf(m.Opsets, domain) }

func opsetOf(opsets []Opset, domain string) int64 {
	for _, o := range opsets {
		if sameDomain(o.Domain, domain) {
			return o.Version
		}
	}
	return 0
}

func sameDomain(a, b string) bool {
	return a == b || (a == "" || a == "ai.onnx") && (b == "" || b == "ai.onnx")
}

// SetOpset imports a version of a domain, and raises the IR version to one
// that goes with it.
func (m *Model) SetOpset(domain string, version int64) {
	if sameDomain(domain, "") {
		m.IRVersion = max(m.IRVersion, IRVersionFor(version))
	}
	for i, o := range m.Opsets {
		if sameDomain(o.Domain, domain) {
			m.Opsets[i].Version = version
			return
		}
	}
	m.Opsets = append(m.Opsets, Opset{domain, version})
}

// Meta returns a metadata property, "" when there is none.
func (m *Model) Meta(key string) string {
	for _, p := range m.Metadata {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// SetMeta sets or adds a metadata property.
func (m *Model) SetMeta(key, value string) {
	i := slices.IndexFunc(m.Metadata, func(p Property) bool { return p.Key == key })
	if i < 0 {
		m.Metadata = append(m.Metadata, Property{key, value})
		return
	}
	m.Metadata[i].Value = value
}

// Function returns the function a node calls, or nil when the node is an
// operator.
func (m *Model) Function(n *Node) *Function {
	for _, f := range m.Functions {
		if f.Name == n.Op && sameDomain(f.Domain, n.Domain) && f.Overload == n.Overload {
			return f
		}
	}
	return nil
}

// Clone returns a copy that can be changed without changing m. Tensor data,
// which nothing changes in place, are shared.
func (m *Model) Clone() *Model {
	c, err := decodeModel(m.encode())
	if err != nil {
		panic("onnx: a model that was decoded does not decode again: " + err.Error())
	}
	return c
}
