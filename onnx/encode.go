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
	p.OpsetImport = encodeOpsets(m.Opsets, p.OpsetImport)
	p.MetadataProps = encodeMetadata(m.Metadata, p.MetadataProps)
	p.Graph = m.Graph.encode()
	for _, f := range m.Functions {
		p.Functions = append(p.Functions, f.encode())
	}
	return p
}

// encodeOpsets writes the entries of old again where they still say the same:
// files differ in whether they write the domain "", and may hold fields that we
// do not know.
func encodeOpsets(opsets []Opset, old []*onnxpb.OperatorSetIdProto) []*onnxpb.OperatorSetIdProto {
	var ps []*onnxpb.OperatorSetIdProto
	for _, o := range opsets {
		p := &onnxpb.OperatorSetIdProto{Domain: &o.Domain}
		for _, e := range old {
			if e.GetDomain() == o.Domain {
				*p = *e
				break
			}
		}
		p.Version = &o.Version
		ps = append(ps, p)
	}
	return ps
}

func encodeMetadata(props []Property, old []*onnxpb.StringStringEntryProto) []*onnxpb.StringStringEntryProto {
	var ps []*onnxpb.StringStringEntryProto
	for _, prop := range props {
		p := &onnxpb.StringStringEntryProto{}
		for _, e := range old {
			if e.GetKey() == prop.Key {
				*p = *e
				break
			}
		}
		p.Key, p.Value = &prop.Key, &prop.Value
		ps = append(ps, p)
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
	infos := map[*onnxpb.ValueInfoProto]*onnxpb.ValueInfoProto{} // of the file, to what they are now
	for _, i := range g.rest.GetValueInfo() {
		infos[i] = nil
	}
	for _, i := range g.loose {
		infos[i] = i
	}
	var added []*onnxpb.ValueInfoProto
	info := func(v *Value) {
		if _, ok := infos[v.info]; ok {
			infos[v.info] = v.encode()
		} else {
			added = append(added, v.encode())
		}
	}
	for _, v := range g.inits {
		p.Initializer = append(p.Initializer, v.Const.encode())
		if v.info != nil && !inInterface[v] {
			info(v)
		}
	}
	for _, n := range g.Nodes {
		p.Node = append(p.Node, n.encode())
		for _, v := range n.Outputs {
			if v != nil && !inInterface[v] && (v.Type.Elem != Undefined || v.Type.other != nil || v.info != nil) {
				info(v)
			}
		}
	}
	p.ValueInfo = nil
	for _, i := range g.rest.GetValueInfo() {
		if now := infos[i]; now != nil {
			p.ValueInfo = append(p.ValueInfo, now)
		}
	}
	p.ValueInfo = append(p.ValueInfo, added...)
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
	p.OpsetImport = encodeOpsets(f.Opsets, p.OpsetImport)
	body := f.Body.encode()
	p.Node, p.ValueInfo = body.Node, body.ValueInfo
	return p
}
