package onnxgo

import (
	"fmt"

	decoder "github.com/owulveryck/onnx-go"

	"github.com/daq-sr/daq/onnx"
)

// maxPlaceholders is the most that the tensors may take which onnx-go makes for
// every value of known shape, in bytes.
const maxPlaceholders = 4 << 30

// Load lets onnx-go decode a file and returns its model and the backend that
// runs it. The opset comes from the file, which is looked through first: what
// onnx-go would lose or stumble over is an error.
func Load(data []byte) (model *decoder.Model, b *Backend, err error) {
	m, err := onnx.Decode(data)
	if err != nil {
		return nil, nil, err
	}
	if err := decodable(m); err != nil {
		return nil, nil, fmt.Errorf("onnx-go cannot decode the model: %w; use package runtime", err)
	}
	defer func() {
		if r := recover(); r != nil {
			model, b, err = nil, nil, fmt.Errorf("onnx-go cannot decode the model: %v", r)
		}
	}()
	b = New(m.Opset(""))
	model = decoder.NewModel(b)
	if err := model.UnmarshalBinary(data); err != nil {
		return nil, nil, fmt.Errorf("onnx-go cannot decode the model: %w", err)
	}
	return model, b, nil
}

// decodable names what onnx-go would drop without a word.
func decodable(m *onnx.Model) error {
	total := int64(0)
	declare := func(v *onnx.Value) error {
		var known []int64
		for _, d := range v.Type.Shape {
			if d.IsKnown() {
				known = append(known, d.Value)
			}
		}
		n, err := onnx.Elements(known)
		if total += v.Type.Elem.Bytes(n); err != nil || total > maxPlaceholders {
			return fmt.Errorf("value %q is %s, too large for a placeholder", v.Name, v.Type)
		}
		return nil
	}
	for _, v := range m.Graph.Inputs {
		if err := declare(v); err != nil {
			return err
		}
	}
	for _, n := range m.Graph.Nodes {
		if n.Domain != "" && n.Domain != "ai.onnx" {
			return fmt.Errorf("node %s is of a domain of its own", n)
		}
		if m.Function(n) != nil {
			return fmt.Errorf("node %s is a call of a function", n)
		}
		for _, v := range n.Outputs {
			if v == nil {
				continue
			}
			if err := declare(v); err != nil {
				return err
			}
		}
	}
	return nil
}
