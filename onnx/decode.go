package onnx

import (
	"fmt"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

func decodeModel(p *onnxpb.ModelProto) (*Model, error) {
	rest := *p
	m := &Model{
		IRVersion: p.GetIrVersion(), Producer: p.GetProducerName(), ProducerVersion: p.GetProducerVersion(),
		Domain: p.GetDomain(), Version: p.GetModelVersion(), Doc: p.GetDocString(), rest: &rest,
	}
	rest.Graph, rest.Functions = nil, nil
	m.Opsets = decodeOpsets(p.OpsetImport)
	for _, e := range p.MetadataProps {
		m.Metadata = append(m.Metadata, Property{e.GetKey(), e.GetValue()})
	}
	if p.Graph == nil {
		return nil, fmt.Errorf("the file has no graph: it is not an ONNX model, or it is cut off")
	}
	var err error
	if m.Graph, err = decodeGraph(p.Graph, nil); err != nil {
		return nil, err
	}
	for _, f := range p.Functions {
		fn, err := decodeFunction(f)
		if err != nil {
			return nil, fmt.Errorf("function %s.%s: %w", f.GetDomain(), f.GetName(), err)
		}
		m.Functions = append(m.Functions, fn)
	}
	return m, nil
}

func decodeOpsets(ps []*onnxpb.OperatorSetIdProto) []Opset {
	var opsets []Opset
	for _, o := range ps {
		opsets = append(opsets, Opset{o.GetDomain(), o.GetVersion()})
	}
	return opsets
}

// decodeGraph declares everything that has a name before it links anything, so
// that nodes in any order, and subgraphs that read outer values, resolve.
func decodeGraph(p *onnxpb.GraphProto, outer *Graph) (*Graph, error) {
	rest := *p
	g := NewGraph(p.GetName())
	g.outer, g.rest = outer, &rest
	rest.Name, rest.Node, rest.Initializer, rest.Input, rest.Output = nil, nil, nil, nil, nil
	for _, i := range p.Input {
		if g.values[i.GetName()] != nil {
			return nil, fmt.Errorf("graph %q has two inputs named %q", g.Name, i.GetName())
		}
		v := g.declare(i.GetName())
		v.Type, v.info = decodeType(i.Type), i
		g.Inputs = append(g.Inputs, v)
	}
	for _, s := range p.SparseInitializer {
		g.declare(s.GetValues().GetName())
	}
	if err := g.decodeInitializers(p.Initializer); err != nil {
		return nil, err
	}
	for _, np := range p.Node {
		if err := g.declareNode(np); err != nil {
			return nil, err
		}
	}
	for i, np := range p.Node {
		if err := g.linkNode(g.Nodes[i], np); err != nil {
			return nil, fmt.Errorf("node %s: %w", g.Nodes[i], err)
		}
	}
	for _, i := range p.ValueInfo {
		if v := g.values[i.GetName()]; v != nil && v.info == nil {
			v.info = i
			if v.Const == nil {
				v.Type = decodeType(i.Type)
			}
		}
	}
	for _, o := range p.Output {
		v := g.lookup(o.GetName())
		if v == nil {
			return nil, fmt.Errorf("graph %q: no node gives the output %q", g.Name, o.GetName())
		}
		if v.graph == g && !v.IsInput() {
			v.info = o
			if v.Const == nil {
				v.Type = decodeType(o.Type)
			}
		}
		g.Outputs = append(g.Outputs, v)
	}
	for _, i := range p.ValueInfo {
		if v := g.values[i.GetName()]; v == nil || v.info != i {
			g.loose = append(g.loose, i)
		}
	}
	return g, nil
}

func (g *Graph) decodeInitializers(ps []*onnxpb.TensorProto) error {
	for _, p := range ps {
		t, err := decodeTensor(p)
		if err != nil {
			return err
		}
		v := g.values[t.Name]
		switch {
		case t.Name == "":
			return fmt.Errorf("graph %q has an initializer without a name", g.Name)
		case v == nil:
			v = g.declare(t.Name)
		case v.Const != nil:
			return fmt.Errorf("graph %q has two initializers named %q", g.Name, t.Name)
		}
		v.SetConst(t)
	}
	return nil
}

func (g *Graph) declareNode(p *onnxpb.NodeProto) error {
	n := &Node{Op: p.GetOpType(), Domain: p.GetDomain(), Name: p.GetName(), Overload: p.GetOverload(), graph: g}
	rest := *p
	rest.OpType, rest.Domain, rest.Name, rest.Overload = nil, nil, nil, nil
	rest.Input, rest.Output, rest.Attribute = nil, nil, nil
	n.rest = &rest
	for _, name := range p.Output {
		if name == "" {
			n.Outputs = append(n.Outputs, nil)
			continue
		}
		if g.values[name] != nil {
			n.Outputs = []*Value{{Name: name}} // for the message
			return fmt.Errorf("node %s: the name %q is given to two values, each must have its own", n, name)
		}
		v := g.declare(name)
		v.Producer = n
		n.Outputs = append(n.Outputs, v)
	}
	g.Nodes = append(g.Nodes, n)
	return nil
}

func (g *Graph) linkNode(n *Node, p *onnxpb.NodeProto) error {
	n.Inputs = make([]*Value, len(p.Input))
	for i, name := range p.Input {
		if name == "" {
			continue
		}
		v := g.lookup(name)
		if v == nil {
			return fmt.Errorf("input %q is given by no node, initializer or graph input", name)
		}
		n.SetInput(i, v)
	}
	for _, ap := range p.Attribute {
		a, err := g.decodeAttribute(ap)
		if err != nil {
			return err
		}
		n.Attrs = append(n.Attrs, a)
	}
	n.adoptSubgraphs()
	return nil
}

func decodeFunction(p *onnxpb.FunctionProto) (*Function, error) {
	rest := *p
	rest.Input, rest.Output, rest.Node, rest.ValueInfo = nil, nil, nil, nil
	rest.Attribute, rest.AttributeProto = nil, nil
	f := &Function{Domain: p.GetDomain(), Name: p.GetName(), Overload: p.GetOverload(), Attrs: p.Attribute, rest: &rest}
	f.Opsets = decodeOpsets(p.OpsetImport)
	body := &onnxpb.GraphProto{Name: p.Name, Node: p.Node, ValueInfo: p.ValueInfo}
	for _, name := range p.Input {
		body.Input = append(body.Input, &onnxpb.ValueInfoProto{Name: &name})
	}
	for _, name := range p.Output {
		body.Output = append(body.Output, &onnxpb.ValueInfoProto{Name: &name})
	}
	var err error
	if f.Body, err = decodeGraph(body, nil); err != nil {
		return nil, err
	}
	for _, ap := range p.AttributeProto {
		a, err := f.Body.decodeAttribute(ap)
		if err != nil {
			return nil, err
		}
		f.Defaults = append(f.Defaults, a)
	}
	return f, nil
}
