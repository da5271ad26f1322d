// Package inspect summarizes an ONNX file for a person: what goes in and out,
// what it is built of, and which convolutions are quantized to how many bits.
package inspect

import (
	"cmp"
	"context"
	"math/bits"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

// Summary is what is known of one model.
type Summary struct {
	IRVersion    int64         `json:"ir_version"`
	Opsets       []Opset       `json:"opsets"`
	Producer     string        `json:"producer"`
	Metadata     []Property    `json:"metadata"`
	Inputs       []Value       `json:"inputs"`
	Outputs      []Value       `json:"outputs"`
	Operators    []Count       `json:"operators"` // most frequent first; functions are named domain.Name
	Parameters   int64         `json:"parameters"`
	Bytes        []TypeBytes   `json:"bytes"` // of initializers by element type, largest first
	Convolutions []Convolution `json:"convolutions"`
}

// Opset is an imported version of a domain of operators; the default domain is
// "ai.onnx".
type Opset struct {
	Domain  string `json:"domain"`
	Version int64  `json:"version"`
}

// Property is one line of the metadata.
type Property struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Value is an input or output, such as {"input", "float[n,3,h,w]"}.
type Value struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Count is how often an operator occurs.
type Count struct {
	Operator string `json:"operator"`
	Count    int    `json:"count"`
}

// TypeBytes is what the initializers of one element type take.
type TypeBytes struct {
	Type     string `json:"type"`
	Elements int64  `json:"elements"`
	Bytes    int64  `json:"bytes"`
}

// Convolution is one Conv or ConvTranspose.
type Convolution struct {
	Name           string  `json:"name"`
	Operator       string  `json:"operator"`
	Weights        []int64 `json:"weights"`                   // shape, nil when not known
	Body           bool    `json:"body"`                      // in a float network: quantized by default, see passes.Layers
	WeightBits     int     `json:"weight_bits,omitempty"`     // of the codes, 0 for float
	ActivationBits int     `json:"activation_bits,omitempty"` // of the codes of its input, 0 for float

	// Steps of the input's quantizer in standard deviations, one or one for
	// each channel.
	Steps []float32 `json:"-"`
}

// Quantized reports whether any part of it is quantized.
func (c Convolution) Quantized() bool { return c.WeightBits > 0 || c.ActivationBits > 0 }

// Model summarizes m, which is not changed.
func Model(ctx context.Context, m *onnx.Model) *Summary {
	s := &Summary{
		IRVersion: m.IRVersion,
		Producer:  m.Producer,
		Metadata:  []Property{},
	}
	if m.ProducerVersion != "" {
		s.Producer += " " + m.ProducerVersion
	}
	for _, o := range m.Opsets {
		s.Opsets = append(s.Opsets, Opset{cmp.Or(o.Domain, "ai.onnx"), o.Version})
	}
	for _, p := range m.Metadata {
		s.Metadata = append(s.Metadata, Property(p))
	}
	for _, v := range m.Graph.Inputs {
		if v.Const == nil {
			s.Inputs = append(s.Inputs, Value{v.Name, v.Type.String()})
		}
	}
	for _, v := range m.Graph.Outputs {
		s.Outputs = append(s.Outputs, Value{v.Name, v.Type.String()})
	}
	operators, types := map[string]int{}, map[onnx.DataType]int64{}
	count(m.Graph, operators, types)
	for name, n := range operators {
		s.Operators = append(s.Operators, Count{name, n})
	}
	slices.SortFunc(s.Operators, func(a, b Count) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.Operator, b.Operator))
	})
	for typ, n := range types {
		s.Parameters += n
		s.Bytes = append(s.Bytes, TypeBytes{typ.String(), n, typ.Bytes(n)})
	}
	slices.SortFunc(s.Bytes, func(a, b TypeBytes) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Type, b.Type))
	})
	s.Convolutions = convolutions(m.Graph)
	if !s.Quantized() {
		body := bodyNames(ctx, m)
		for i, c := range s.Convolutions {
			s.Convolutions[i].Body = body[c.Name]
		}
	}
	return s
}

func count(g *onnx.Graph, operators map[string]int, types map[onnx.DataType]int64) {
	for _, n := range g.Nodes {
		name := n.Op
		if n.Domain != "" && n.Domain != "ai.onnx" {
			name = n.Domain + "." + n.Op
		}
		operators[name]++
		for _, sub := range n.Subgraphs() {
			count(sub, operators, types)
		}
	}
	for _, v := range g.Initializers() {
		if n, err := v.Const.Elements(); err == nil {
			types[v.Const.Type] += n
		}
	}
}

// convolutions lists those of the main graph.
func convolutions(g *onnx.Graph) []Convolution {
	list := []Convolution{}
	for _, n := range g.Nodes {
		if !n.Is("Conv", "ConvTranspose") {
			continue
		}
		c := Convolution{Name: n.Label(), Operator: n.Op}
		if w := n.Input(1); w != nil {
			c.Weights, _ = w.Type.Shape.Ints()
			if w.Const != nil {
				c.Weights = w.Const.Shape
			}
			c.WeightBits = weightBits(w)
		}
		c.ActivationBits, c.Steps = activation(n.Input(0))
		list = append(list, c)
	}
	return list
}

// bodyNames returns the convolutions that are quantized by default, which are
// chosen in the simplified network. A network that cannot be analysed, or has no
// body, gives none.
func bodyNames(ctx context.Context, m *onnx.Model) map[string]bool {
	simple := m.Clone()
	if _, err := passes.Simplify(ctx, simple); err != nil {
		return nil
	}
	body, err := passes.Select(simple.Graph, passes.Layers{})
	if err != nil {
		return nil
	}
	names := map[string]bool{}
	for _, n := range body {
		names[n.Label()] = true
	}
	return names
}

// producer returns the node of an operator that makes v, or nil.
func producer(v *onnx.Value, domain string, ops ...string) *onnx.Node {
	if v == nil || v.Producer == nil || v.Producer.Domain != domain || !slices.Contains(ops, v.Producer.Op) {
		return nil
	}
	return v.Producer
}

// weightBits returns the bits that the codes of dequantized weights use.
func weightBits(w *onnx.Value) int {
	n := producer(w, passes.Domain, "Dequantize")
	if n == nil {
		n = producer(w, "", "DequantizeLinear")
	}
	if n == nil {
		return 0
	}
	codes := n.Input(0)
	width := 0
	if unpack := producer(codes, passes.Domain, "Unpack"); unpack != nil {
		shifts := unpack.Input(1)
		codes = unpack.Input(0)
		if shifts != nil && shifts.Const != nil && len(shifts.Const.Data) > 0 {
			width = 8 / len(shifts.Const.Data)
		}
	}
	if codes == nil || codes.Const == nil {
		return 0
	}
	switch codes.Const.Type {
	case onnx.Int2, onnx.Int4, onnx.Int8:
		return codes.Const.Type.Bits()
	}
	if width == 0 {
		width = codes.Const.Type.Bits()
	}
	return usedBits(codes.Const.Data, width)
}

// usedBits returns the bits of the largest code: 3-bit codes, for one, are
// stored in 4 bits.
func usedBits(data []byte, width int) int {
	if width != 2 && width != 4 && width != 8 {
		return width
	}
	largest := uint8(0)
	for _, b := range data {
		for shift := 0; shift < 8; shift += width {
			largest = max(largest, b>>shift&uint8(1<<width-1))
		}
	}
	return max(1, bits.Len8(largest))
}

// activation returns bits and steps of the quantizer that x went through.
func activation(x *onnx.Value) (int, []float32) {
	dequantize := producer(x, passes.Domain, "Dequantize")
	if dequantize == nil {
		if n := producer(x, "", "DequantizeLinear"); n != nil {
			if v := n.Input(2); v != nil {
				return v.Type.Elem.Bits(), nil
			}
		}
		return 0, nil
	}
	quantize := producer(dequantize.Input(0), passes.Domain, "Quantize", "QuantizeRelu", "QuantizeWindow")
	if quantize == nil {
		return 0, nil
	}
	levels, steps := floats(quantize.Inputs[len(quantize.Inputs)-1]), floats(quantize.Input(1))
	if len(levels) == 0 {
		return 0, steps
	}
	return bits.Len(uint(max(1, slices.Max(levels)-1))), steps
}

func floats(v *onnx.Value) []float32 {
	if v == nil || v.Const == nil {
		return nil
	}
	f, err := v.Const.Float32s()
	if err != nil {
		return nil
	}
	return f
}

// Quantized reports whether any convolution is quantized.
func (s *Summary) Quantized() bool { return slices.ContainsFunc(s.Convolutions, Convolution.Quantized) }
