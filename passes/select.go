package passes

import (
	"fmt"
	"regexp"

	"github.com/daq-sr/daq/onnx"
)

// Layers says which convolutions are quantized. A convolution is Conv or
// ConvTranspose with constant weights; its name is that of its node or, for a
// nameless node, of its output.
//
// Body, the default, are the convolutions of residual and dense blocks: those
// from which the last skip connection is reached. A skip connection is an Add or
// Concat of two computed tensors that a later convolution reads; where there is
// none (a plain chain) the body is all but the first and the last convolution.
// Never part of the body are ConvTranspose, convolutions that read a picture (at
// most 4 channels) and those that read a 1x1 map (attention behind global
// pooling), which has no distribution.
type Layers struct {
	All     bool           // every convolution, not only the body
	Include *regexp.Regexp // instead of these: every convolution whose name matches
	Exclude *regexp.Regexp // and of those not the ones whose name matches
}

// pictureChannels is the largest number of channels a picture has.
const pictureChannels = 4

// Select returns the convolutions in graph order. Types must be inferred
// (onnx.Infer). Selecting nothing is an error.
func Select(g *onnx.Graph, l Layers) ([]*onnx.Node, error) {
	var chosen []*onnx.Node
	body := map[*onnx.Node]bool{}
	if l.Include == nil && !l.All {
		body = bodyOf(g)
	}
	var count int
	for _, n := range g.Nodes {
		if !quantizable(n) {
			continue
		}
		count++
		take := l.All || body[n]
		if l.Include != nil {
			take = l.Include.MatchString(n.Label())
		}
		if take && (l.Exclude == nil || !l.Exclude.MatchString(n.Label())) {
			chosen = append(chosen, n)
		}
	}
	if count == 0 {
		return nil, noConvolution(g)
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("none of the %d convolutions with constant float weights is selected: choose others with --layers all, --include or --exclude (daq inspect lists their names)", count)
	}
	return chosen, nil
}

// noConvolution says why a graph has nothing to quantize.
func noConvolution(g *onnx.Graph) error {
	for _, n := range g.Nodes {
		if n.Is("Conv", "ConvTranspose") && n.Input(1) != nil {
			if w := n.Inputs[1]; w.Const != nil {
				return fmt.Errorf("the weights of %s are %s: export the network in float32", n, w.Const.Type)
			}
			return fmt.Errorf("the weights of %s are computed by the graph: export the network with constant weights", n)
		}
	}
	return fmt.Errorf("the network has no convolution: there is nothing to quantize")
}

// quantizable reports whether a node is a convolution with constant float
// weights.
func quantizable(n *onnx.Node) bool {
	if !n.Is("Conv", "ConvTranspose") || len(n.Inputs) < 2 {
		return false
	}
	w := n.Inputs[1]
	return w != nil && w.Const != nil && w.Const.Type == onnx.Float && len(w.Const.Shape) >= 3
}

func bodyOf(g *onnx.Graph) map[*onnx.Node]bool {
	body := map[*onnx.Node]bool{}
	if skip := lastSkip(g); skip != nil {
		upstream := ancestors(skip)
		for _, n := range g.Nodes {
			if inBody(n) && upstream[n] {
				body[n] = true
			}
		}
		return body
	}
	first, last := true, (*onnx.Node)(nil)
	for _, n := range g.Nodes {
		if !n.Is("Conv") || !quantizable(n) {
			continue
		}
		if !first && inBody(n) {
			body[n] = true
		}
		first, last = false, n
	}
	delete(body, last)
	return body
}

func inBody(n *onnx.Node) bool {
	if !n.Is("Conv") || !quantizable(n) {
		return false
	}
	w := n.Inputs[1].Const.Shape
	if w[1]*n.Int("group", 1) <= pictureChannels {
		return false
	}
	return !isOnePixel(n.Inputs[0].Type.Shape)
}

func isOnePixel(s onnx.Shape) bool {
	if len(s) < 3 {
		return false
	}
	for _, d := range s[2:] {
		if d.Value != 1 {
			return false
		}
	}
	return true
}

// lastSkip returns the last Add or Concat of two computed feature maps that a
// later convolution reads.
func lastSkip(g *onnx.Graph) *onnx.Node {
	feedsConv := map[*onnx.Node]bool{}
	var last *onnx.Node
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		for _, out := range n.Outputs {
			if out == nil {
				continue
			}
			for _, u := range out.Uses() {
				if quantizable(u.Node) && u.Index == 0 || feedsConv[u.Node] {
					feedsConv[n] = true
				}
			}
		}
		if last == nil && feedsConv[n] && isSkip(n) {
			last = n
		}
	}
	return last
}

func isSkip(n *onnx.Node) bool {
	if !n.Is("Add", "Concat", "Sum") {
		return false
	}
	if s := n.Outputs[0].Type.Shape; s != nil && (len(s) != 4 || s[1].IsKnown() && s[1].Value <= pictureChannels) || isPoint(n.Outputs[0]) {
		return false
	}
	computed := map[*onnx.Value]bool{}
	for _, in := range n.Inputs {
		if in != nil && in.Producer != nil && in.Producer.Is("Neg") { // FreeSkip brings a value and its negative together
			in = in.Producer.Inputs[0]
		}
		if in != nil && in.Producer != nil {
			computed[in] = true
		}
	}
	return len(computed) >= 2
}

// ancestors returns the nodes that a node depends on.
func ancestors(of *onnx.Node) map[*onnx.Node]bool {
	set := map[*onnx.Node]bool{}
	stack := []*onnx.Node{of}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, in := range n.Inputs {
			if in != nil && in.Producer != nil && !set[in.Producer] {
				set[in.Producer] = true
				stack = append(stack, in.Producer)
			}
		}
	}
	return set
}
