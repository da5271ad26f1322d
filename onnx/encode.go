package onnx

import "github.com/daq-sr/daq/onnx/onnxpb"

func (m *Model) encode() *onnxpb.ModelProto {
	p := &onnxpb.ModelProto{}
	if m.rest != nil {
		*p = *m.rest
	}
	p.IrVersion = &m.IRVersion
	p.ProducerName, p.ProducerVersion = optional(m.Producer), optional(m.ProducerVersion)
	p.Domain, p.DocString = optional(m.Domain), optional(m.Doc)
	if m.Version != 0 || p.ModelVersion != nil {
		p.ModelVersion = &m.Version
	}
	p.OpsetImport = encodeOpsets(m.Opsets)
	for _, e := range m.Metadata {
		p.MetadataProps = append(p.MetadataProps, &onnxpb.StringStringEntryProto{Key: &e.Key, Value: &e.Value})
	}
	p.Graph = m.Graph.encode()
	for _, f := range m.Functions {
		p.Functions = append(p.Functions, f.encode())
	}
	return p
}

func encodeOpsets(opsets []Opset) []*onnxpb.OperatorSetIdProto {
	var ps []*onnxpb.OperatorSetIdProto
	for _, o := range opsets {
		// The domain is written even when empty: some readers want the field.
		ps = append(ps, &onnxpb.OperatorSetIdProto{Domain: &o.Domain, Version: &o.Version})
	}
	return ps
}

func (g *Graph) encode() *onnxpb.GraphProto {
	p := &onnxpb.GraphProto{}
	if g.rest != nil {
		*p = *g.rest
	}
	p.Name = optional(g.Name)
	inInterface := map[*Value]bool{}
	for _, v := range g.Inputs {
		p.Input = append(p.Input, v.encode())
		inInterface[v] = true
	}
	for _, v := range g.Outputs {
		p.Output = append(p.Output, v.encode())
		inInterface[v] = true
	}
	for _, v := range g.inits {
		p.Initializer = append(p.Initializer, v.Const.encode())
		if v.info != nil && !inInterface[v] {
			p.ValueInfo = append(p.ValueInfo, v.info)
		}
	}
	for _, n := range g.Nodes {
		p.Node = append(p.Node, n.encode())
		for _, v := range n.Outputs {
			if v != nil && !inInterface[v] && (v.Type.Elem != Undefined || v.Type.other != nil || v.info != nil) {
				p.ValueInfo = append(p.ValueInfo, v.encode())
			}
		}
	}
	return p
}

func (v *Value) encode() *onnxpb.ValueInfoProto {
	p := &onnxpb.ValueInfoProto{}
	if v.info != nil {
		*p = *v.info
	}
	p.Name, p.Type = optional(v.Name), v.Type.encode(p.Type)
	return p
}

func (n *Node) encode() *onnxpb.NodeProto {
	p := &onnxpb.NodeProto{}
	if n.rest != nil {
		*p = *n.rest
	}
	p.OpType, p.Domain, p.Name, p.Overload = optional(n.Op), optional(n.Domain), optional(n.Name), optional(n.Overload)
	p.Input, p.Output = names(n.Inputs), names(n.Outputs)
	for _, a := range n.Attrs {
		p.Attribute = append(p.Attribute, a.encode())
	}
	return p
}

func names(values []*Value) []string {
	out := make([]string, len(values))
	for i, v := range values {
		if v != nil {
			out[i] = v.Name
		}
	}
	return out
}

func (f *Function) encode() *onnxpb.FunctionProto {
	p := &onnxpb.FunctionProto{}
	if f.rest != nil {
		*p = *f.rest
	}
	p.Domain, p.Name, p.Overload = optional(f.Domain), optional(f.Name), optional(f.Overload)
	p.Input, p.Output, p.Attribute = names(f.Body.Inputs), names(f.Body.Outputs), f.Attrs
	for _, a := range f.Defaults {
		p.AttributeProto = append(p.AttributeProto, a.encode())
	}
	p.OpsetImport = encodeOpsets(f.Opsets)
	body := f.Body.encode()
	p.Node, p.ValueInfo = body.Node, body.ValueInfo
	return p
}
