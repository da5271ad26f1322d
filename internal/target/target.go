// Package target describes, once for the emitter and the linter alike, what the
// runtimes that quantized graphs are made for do with Q/DQ. What is stated here was
// measured; the numbers are in RATIONALE.md.
package target

import (
	"fmt"
	"slices"
	"strings"

	"github.com/daq-sr/daq/onnx"
)

// Mode is how the range of an activation is found.
type Mode string

// The modes.
const (
	Dynamic Mode = "dynamic" // in the graph, for every picture: DAQ functions
	Static  Mode = "static"  // from calibration: QuantizeLinear and DequantizeLinear
)

// Target is a runtime, or a use, that a quantized graph is written for.
type Target struct {
	Name        string
	For         string // in a few words, for messages
	Modes       []Mode // that it can be written in, the default first
	Activations Activations
	Weights     Weights
	Channels    Channels
	MinOpset    int64 // that what is emitted needs
	MaxOpset    int64 // the highest the runtime reads

	// SumsIntoConv: an Add is computed by the convolution on one side of it, whose
	// result must not pass a quantizer in between; the other side must.
	SumsIntoConv bool

	// FloatProducts: a MatMul of codes by constant weights gives floats, and takes no longer
	// than with codes behind it.
	FloatProducts bool

	// Operators says what becomes of an operator with Q/DQ around it; one that is
	// not listed is Float.
	Operators map[string]Form
}

// Channels says of how many channels integer convolutions are fast; the zero value: of any.
type Channels struct {
	Multiple int // both those read and those made are a multiple of it
	Outputs  int // those made are not fewer
}

// Activations is the form of quantized activations; the zero value means that
// they stay float.
type Activations struct {
	Type        onnx.DataType // of the codes, whatever the number of bits
	Symmetric   bool          // zero point 0 only
	PerAxis     bool          // a scale for each channel is allowed
	IntegerClip bool          // fewer bits: Q, Clip of the codes, DQ; without it 8 bits only
}

// Weights is the form of quantized weights.
type Weights struct {
	Type      onnx.DataType // of 8-bit codes
	Sub8      []onnx.DataType
	Symmetric bool // zero point 0
	PerAxis   bool // a scale for each output channel
	Block     int  // weights along the input channels that share a scale; 0: all of them

	// PairSum bounds |a+b| of the codes of two neighbouring input channels at the same
	// tap: the product with unsigned activations is added in pairs in 16 bits on
	// x86 without VNNI, and saturates there. 0: no bound.
	PairSum int

	// RoundsFloat: float weights between codes are rounded by the runtime, with one scale for
	// all, unless the bias is dequantized.
	RoundsFloat bool
}

// TypeOf returns the smallest type that weights of so many bits are stored in.
func (w *Weights) TypeOf(bits int) onnx.DataType {
	smallest := w.Type
	for _, t := range w.Sub8 {
		if t.Bits() >= bits && t.Bits() < smallest.Bits() {
			smallest = t
		}
	}
	return smallest
}

// Form is what a runtime does with an operator between DequantizeLinear and
// QuantizeLinear.
type Form int

const (
	// Float: it is computed in float; Q/DQ around it are work for nothing.
	Float Form = iota
	// Integer: it is computed in integers, with parameters of its own on each side.
	Integer
	// Moves: it is computed on codes; both sides must have the same parameters.
	Moves
	// Absorbed: it vanishes into the QuantizeLinear behind it, whose range begins
	// at zero (zero point = least code); nothing may stand in front of it.
	Absorbed
	// Bare: as Float, and Q/DQ directly in front of it do harm (they are dropped
	// wrongly, or keep the runtime from a better kernel).
	Bare
)

// Form returns what becomes of a node.
func (t *Target) Form(n *onnx.Node) Form {
	if n.Domain != "" && n.Domain != "ai.onnx" {
		return Float
	}
	f := t.Operators[n.Op]
	if n.Op == "Resize" && f == Moves && n.Str("mode", "nearest") != "nearest" {
		return Float // interpolation gives values between the codes
	}
	return f
}

// WeightsOnly reports whether activations stay float.
func (t *Target) WeightsOnly() bool { return t.Supports(Static) && t.Activations == (Activations{}) }

// Supports reports whether the target can be written in a mode.
func (t *Target) Supports(m Mode) bool { return slices.Contains(t.Modes, m) }

// Named returns a target by its name.
func Named(name string) (*Target, error) {
	for _, t := range All() {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, fmt.Errorf("target %q: want %s", name, strings.Join(Names(), ", "))
}

// Names returns the names of all targets.
func Names() []string {
	var names []string
	for _, t := range All() {
		names = append(names, t.Name)
	}
	return names
}
