package onnx

import (
	"fmt"
	"slices"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// Use is one place where a value is read: Node.Inputs[Index].
type Use struct {
	Node  *Node
	Index int
}

// Node is one application of an operator or function. Inputs and Outputs hold
// nil where an optional one is left out. Change inputs with SetInput.
type Node struct {
	Op, Domain, Name, Overload string
	Inputs, Outputs            []*Value
	Attrs                      []*Attribute

	graph *Graph
	rest  *onnxpb.NodeProto
}

func (n *Node) adoptSubgraphs() {
	for _, sub := range n.Subgraphs() {
		sub.outer, sub.owner = n.graph, n
	}
}

// release ends all reading by the node and by the nodes of its subgraphs.
func (n *Node) release() {
	for i := range n.Inputs {
		n.SetInput(i, nil)
	}
	for _, sub := range n.Subgraphs() {
		for _, inner := range sub.Nodes {
			inner.release()
		}
	}
}

// SetInput makes input i of the node read v; nil leaves an optional input out.
// The list grows when needed.
func (n *Node) SetInput(i int, v *Value) {
	for len(n.Inputs) <= i {
		n.Inputs = append(n.Inputs, nil)
	}
	if old := n.Inputs[i]; old != nil {
		old.uses = slices.DeleteFunc(old.uses, func(u Use) bool { return u == Use{n, i} })
	}
	n.Inputs[i] = v
	if v != nil {
		v.uses = append(v.uses, Use{n, i})
	}
}

// Input returns input i, or nil when it is left out.
func (n *Node) Input(i int) *Value {
	if i < len(n.Inputs) {
		return n.Inputs[i]
	}
	return nil
}

// Label returns the node's name or, for a nameless one, that of its first
// output.
func (n *Node) Label() string {
	if n.Name != "" {
		return n.Name
	}
	for _, v := range n.Outputs {
		if v != nil {
			return v.Name
		}
	}
	return ""
}

// Is reports whether the node is one of these operators of the default domain.
func (n *Node) Is(ops ...string) bool {
	return (n.Domain == "" || n.Domain == "ai.onnx") && slices.Contains(ops, n.Op)
}

// Subgraphs returns the graphs among the attributes (If, Loop, Scan).
func (n *Node) Subgraphs() []*Graph {
	var subs []*Graph
	for _, a := range n.Attrs {
		if g, ok := a.Value.(*Graph); ok && g != nil {
			subs = append(subs, g)
		}
	}
	return subs
}

// Attr returns an attribute by name, or nil.
func (n *Node) Attr(name string) *Attribute {
	for _, a := range n.Attrs {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// SetAttr sets or adds an attribute.
func (n *Node) SetAttr(name string, value any) {
	set := Attr(name, value)
	if a := n.Attr(name); a != nil {
		*a = *set
		return
	}
	n.Attrs = append(n.Attrs, set)
}

// RemoveAttr removes an attribute if there is one.
func (n *Node) RemoveAttr(name string) {
	n.Attrs = slices.DeleteFunc(n.Attrs, func(a *Attribute) bool { return a.Name == name })
}

func attrOr[T any](n *Node, name string, missing T) T {
	if a := n.Attr(name); a != nil {
		if v, ok := a.Value.(T); ok {
			return v
		}
	}
	return missing
}

// Int returns an integer attribute, or missing when there is none.
func (n *Node) Int(name string, missing int64) int64 { return attrOr(n, name, missing) }

// Float returns a float attribute, or missing when there is none.
func (n *Node) Float(name string, missing float32) float32 { return attrOr(n, name, missing) }

// Ints returns an attribute of integers, or missing when there is none.
func (n *Node) Ints(name string, missing ...int64) []int64 { return attrOr(n, name, missing) }

// Floats returns an attribute of floats, or missing when there is none.
func (n *Node) Floats(name string, missing ...float32) []float32 { return attrOr(n, name, missing) }

// Str returns a string attribute, or missing when there is none.
func (n *Node) Str(name string, missing string) string {
	return string(attrOr(n, name, []byte(missing)))
}

// Tensor returns a tensor attribute, or nil.
func (n *Node) Tensor(name string) *Tensor { return attrOr[*Tensor](n, name, nil) }

// Graph returns the graph the node belongs to.
func (n *Node) Graph() *Graph { return n.graph }

// String names the node for messages: its operator, and its name or, for a
// nameless one, that of its first output.
func (n *Node) String() string {
	name := n.Label()
	if n.Domain != "" && n.Domain != "ai.onnx" {
		return fmt.Sprintf("%s.%s %q", n.Domain, n.Op, name)
	}
	return fmt.Sprintf("%s %q", n.Op, name)
}
