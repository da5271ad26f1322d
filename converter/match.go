package converter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/daq-sr/daq/onnx"
)

// Ways in which a tensor of one graph is found in another.
const (
	byName      = "name"      // the same name
	bySuffix    = "suffix"    // the same but for what quantizers add to names
	byStructure = "structure" // the output of the n-th convolution with weights of a shape, or of the graph
)

// match is a tensor and its counterpart.
type match struct{ a, b, by string }

// matchTensors finds the float tensors of graph a in graph b, in the order in which
// a computes them, and counts those without a counterpart. Functions are inlined in
// both.
func matchTensors(a, b *onnx.Graph) (matches []match, unmatched int) {
	theirs, plain := map[string]*onnx.Value{}, map[string]string{}
	for _, v := range floatTensors(b) {
		theirs[v.Name] = v
		// The last of a chain is what the next operator reads.
		plain[withoutAffixes(v.Name)] = v.Name
	}
	structure := matchConvolutions(a, b)
	for i, v := range a.Outputs {
		if i < len(b.Outputs) {
			structure[v.Name] = b.Outputs[i].Name
		}
	}
	for _, v := range floatTensors(a) {
		same := theirs[v.Name]
		switch base := withoutAffixes(v.Name); {
		case same != nil && same.Producer.Op == v.Producer.Op:
			matches = append(matches, match{v.Name, v.Name, byName})
		case v.IsOutput() && structure[v.Name] != "":
			matches = append(matches, match{v.Name, structure[v.Name], byStructure})
		case plain[base] != "":
			// Before the name: a quantizer that takes a Relu away gives its name to what
			// the convolution in front computes.
			matches = append(matches, match{v.Name, plain[base], bySuffix})
		case structure[v.Name] != "":
			matches = append(matches, match{v.Name, structure[v.Name], byStructure})
		default:
			unmatched++
		}
	}
	return matches, unmatched
}

// floatTensors lists what the nodes of the main graph compute in float. A type that
// could not be inferred counts as float: running tells.
func floatTensors(g *onnx.Graph) []*onnx.Value {
	var list []*onnx.Value
	for _, n := range g.Nodes {
		if n.Is("Constant", "Shape", "ConstantOfShape") || slices.ContainsFunc(n.Inputs, isWeight) {
			continue
		}
		for _, v := range n.Outputs {
			if v != nil && (v.Type.Elem == onnx.Float || v.Type.Elem == onnx.Undefined) {
				list = append(list, v)
			}
		}
	}
	return list
}

// isWeight reports whether the first thing a DequantizeLinear reads is constant, for
// values that are; other operators read constants of many kinds.
func isWeight(v *onnx.Value) bool {
	if v == nil || v.Const == nil {
		return false
	}
	return slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool {
		return u.Index == 0 && len(u.Node.Outputs) == 1 && u.Node.Is("DequantizeLinear")
	})
}

// What ONNX Runtime's quantizer, NNCF, ModelOpt and PyTorch put around the name of a
// tensor for its quantized and dequantized forms.
var (
	suffixes = []string{"_DequantizeLinear_Output", "_DequantizeLinear", "_QuantizeLinear_Output", "_QuantizeLinear_Input", "_QuantizeLinear",
		"_dequantized", "_quantized", "_dequant", "_quant", "/DequantizeLinear_output_0", "/QuantizeLinear_output_0", "_fq", "_dq", "_q", "_DQ", "_Q"}
	prefixes = []string{"dq_", "q_", "DequantizeLinear_", "QuantizeLinear_"}
)

func withoutAffixes(name string) string {
	for again := true; again; {
		again = false
		for _, s := range suffixes {
			if rest, ok := strings.CutSuffix(name, s); ok && rest != "" {
				name, again = rest, true
			}
		}
		for _, p := range prefixes {
			if rest, ok := strings.CutPrefix(name, p); ok && rest != "" {
				name, again = rest, true
			}
		}
	}
	return name
}

// matchConvolutions pairs the outputs of convolutions: the n-th with weights of a
// shape in one graph is the n-th in the other, when both have as many of them.
func matchConvolutions(a, b *onnx.Graph) map[string]string {
	ours, theirs := convolutionsByShape(a), convolutionsByShape(b)
	pairs := map[string]string{}
	for shape, list := range ours {
		if other := theirs[shape]; len(other) == len(list) {
			for i, n := range list {
				pairs[n.Outputs[0].Name] = other[i].Outputs[0].Name
			}
		}
	}
	return pairs
}

func convolutionsByShape(g *onnx.Graph) map[string][]*onnx.Node {
	list := map[string][]*onnx.Node{}
	for _, n := range g.Nodes {
		if !n.Is("Conv", "ConvTranspose") || n.Input(1) == nil || len(n.Outputs) == 0 || n.Outputs[0] == nil {
			continue
		}
		if shape, ok := n.Input(1).Type.Shape.Ints(); ok {
			key := fmt.Sprint(n.Op, shape)
			list[key] = append(list[key], n)
		}
	}
	return list
}
