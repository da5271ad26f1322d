package passes

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// PrunePlan takes channels out of a tensor that a convolution makes for other convolutions,
// and out of the Concats it is in. What reads them has their means in its bias.
type PrunePlan struct {
	Tensor   string    `json:"tensor"`
	Channels []int     `json:"channels"` // ascending
	Means    []float32 `json:"means"`    // of each
}

// check refuses what no tensor of so many channels can lose.
func (p *PrunePlan) check(channels int) error {
	if n := len(p.Channels); n == 0 || n != len(p.Means) || n >= channels {
		return fmt.Errorf("%d channels and %d means: name some of the channels, and a mean for each", n, len(p.Means))
	}
	for i, c := range p.Channels {
		if c < 0 || c >= channels || i > 0 && c <= p.Channels[i-1] {
			return fmt.Errorf("channel %d: want channels of the tensor, from 0 and ascending", c)
		}
	}
	return nil
}

// QuietChannels returns the channels of a prepared graph that are worth less than the products they take: those of
// least variance, weighed by the weights that read them. What is lost with them counts in units of
// what rounding a tensor to 8 bits loses, every channel over its own range, and at price of it for
// all products of the tensor. Many ReLUs of trained networks never open; Silent finds those
// alone, and other constants that 1x1 convolutions read. What the last convolutions read is left alone, as every error of it shows. Types must be inferred.
func QuietChannels(g *onnx.Graph, t *target.Target, l Layers, profile *calib.Profile, price float64) []PrunePlan {
	ties := prunable(g)
	m := &staticPlanner{profile: profile, place: place(g, t, l)}
	energy := energies(g, ties)
	var plans []PrunePlan
	for _, v := range m.place.values {
		s, conv, readers := m.channels(v), maker(ties, v), convsOf(v)
		if s == nil || conv == nil || l.Exclude != nil && l.Exclude.MatchString(conv.Label()) || m.place.onGrid(v) || slices.ContainsFunc(readers, func(n *onnx.Node) bool { return !m.place.seenByConv[n.Outputs[0]] }) {
			continue
		}
		border := 0.0
		if slices.ContainsFunc(readers, func(n *onnx.Node) bool { return !isPointwise(n) }) {
			border = borderShare
		}
		signal, noise := make([]float64, len(s)), 0.0
		order := make([]int, len(s))
		for c := range s {
			order[c] = c
			step, std, mean := (float64(s[c].Max)-float64(s[c].Min))/255, s[c].All.Std(), s[c].All.Mean()
			noise += step * step / 12 * energy[v][c]
			signal[c] = (std*std + border*mean*mean) * energy[v][c]
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(signal[a], signal[b]) })
		if quiet := worthLeast(order, signal, noise, price); quiet > 0 {
			plan := PrunePlan{Tensor: v.Name, Channels: slices.Sorted(slices.Values(order[:quiet]))}
			for _, c := range plan.Channels {
				plan.Means = append(plan.Means, float32(s[c].All.Mean()))
			}
			plans = append(plans, plan)
		}
	}
	return plans
}

// convsOf returns the convolutions that read a value, or a Concat that it is in.
func convsOf(v *onnx.Value) (convs []*onnx.Node) {
	for _, u := range v.Uses() {
		if takesFactors(u.Node) {
			convs = append(convs, u.Node)
		} else if isChannelConcat(u.Node) {
			convs = append(convs, convsOf(u.Node.Outputs[0])...)
		}
	}
	return convs
}

// borderShare is the share of what convolutions read that is padding, where a mean in the bias is wrong: of 3x3 in
// a picture of 133 pixels on a side.
const borderShare = 0.01

// Silent is a price at which nothing but channels that can be taken out without a trace are worth it.
const Silent = 1e12

// worthLeast returns how many channels, in the given order, are best taken out.
func worthLeast(order []int, signal []float64, noise, price float64) (quiet int) {
	all, best, lost := len(order), 0.0, 0.0
	for i, c := range order {
		lost += signal[c]
		left := all - 1 - i
		if left < leastKept || left%readTogether != 0 {
			continue
		}
		saved := float64(all-left+roundUp(all, madeTogether)-roundUp(left, madeTogether)) / float64(all)
		if worth := saved - price*lost/max(noise, math.SmallestNonzeroFloat64); worth > best {
			quiet, best = i+1, worth
		}
	}
	return quiet
}

// Kernels of integer convolutions read channels in fours and give them in sixteens.
const readTogether, madeTogether, leastKept = 4, 16, 16

func roundUp(n, multiple int) int { return (n + multiple - 1) / multiple * multiple }

// Prune takes channels out of a graph. It returns, by name, which channels tensors lost:
// those of the plans, and what the graph ties to them. Types must be inferred.
func Prune(g *onnx.Graph, plans []PrunePlan) (map[string][]int, error) {
	ties := prunable(g)
	means := map[int]float32{} // by class
	for _, plan := range plans {
		v := g.Value(plan.Tensor)
		if v == nil || maker(ties, v) == nil {
			return nil, fmt.Errorf("plan: prune of tensor %q: the graph has no such tensor that convolutions make for convolutions alone: make the plan from this model", plan.Tensor)
		}
		if err := plan.check(int(channelsOf(v))); err != nil {
			return nil, fmt.Errorf("plan: prune of tensor %q: %w", plan.Tensor, err)
		}
		for i, c := range plan.Channels {
			means[ties.root(v, c)] = plan.Means[i]
		}
	}
	if len(plans) == 0 {
		return nil, nil
	}
	left, gone := map[*onnx.Value][]int{}, map[string][]int{}
	for v := range ties.base {
		var kept, lost []int
		for c := range int(channelsOf(v)) {
			if _, out := means[ties.root(v, c)]; out {
				lost = append(lost, c)
			} else {
				kept = append(kept, c)
			}
		}
		if len(lost) > 0 {
			left[v], gone[v.Name] = kept, lost
		}
	}
	for _, n := range g.Nodes {
		switch {
		case isPlainConv(n):
			if err := pruneConv(n, left, func(c int) (float32, bool) { m, gone := means[ties.root(n.Inputs[0], c)]; return m, gone }); err != nil {
				return nil, err
			}
		case n.Is("PRelu") && left[n.Outputs[0]] != nil:
			slopes := n.Inputs[1].Const
			if axis := len(slopes.Shape) - 3; axis >= 0 && slopes.Shape[axis] > 1 {
				setConstant(n, 1, n.Inputs[1].Name, spreadChannels(slopes, axis, left[n.Outputs[0]], false))
			}
		}
	}
	for v, kept := range left {
		v.Type.Shape = slices.Clone(v.Type.Shape)
		v.Type.Shape[1].Value = int64(len(kept))
	}
	return gone, nil
}

// pruneConv takes rows of channels that are gone out of a convolution, and columns, whose mean goes into the bias.
func pruneConv(n *onnx.Node, left map[*onnx.Value][]int, mean func(c int) (float32, bool)) error {
	in, out := left[n.Inputs[0]], left[n.Outputs[0]]
	if in == nil && out == nil {
		return nil
	}
	w := n.Inputs[1].Const
	if in != nil {
		data, err := w.Float32s()
		if err != nil {
			return err
		}
		bias := slices.Clone(floatBias(n))
		m := matrixOf(n, w.Shape)
		for o := range bias {
			sum := float64(bias[o])
			for i := range m.inputs {
				if mean, gone := mean(i / m.taps); gone {
					sum += float64(data[m.index(0, o, i)]) * float64(mean)
				}
			}
			bias[o] = float32(sum)
		}
		setConstant(n, 2, n.Label()+"_bias", onnx.Floats([]int64{int64(len(bias))}, bias...))
		w = spreadChannels(w, 1, in, false)
	}
	if out != nil {
		w = spreadChannels(w, 0, out, false)
		if b := n.Input(2); b != nil {
			setConstant(n, 2, b.Name, spreadChannels(b.Const, 0, out, false))
		}
	}
	setConstant(n, 1, n.Inputs[1].Name, w)
	return nil
}

// prunable returns the ties of a graph, fixed where something else than convolutions, activation functions of theirs and
// Concats takes part in a channel too.
func prunable(g *onnx.Graph) *ties {
	t := newTies(g)
	for _, n := range g.Nodes {
		if isPlainConv(n) && len(n.Inputs[1].Uses()) == 1 || isActivation(n) && madeBy(n.Outputs[0]) != nil || isChannelConcat(n) {
			continue
		}
		for _, v := range append(slices.Clone(n.Inputs), n.Outputs...) {
			t.fix(v)
		}
	}
	return t
}

// maker returns the convolution that makes a value that channels can be taken out of (madeBy, prunable): convolutions
// alone read it, some through a Concat. nil for others.
func maker(t *ties, v *onnx.Value) *onnx.Node {
	if slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return isActivation(u.Node) }) {
		return nil
	}
	for c := range int(channelsOf(v)) {
		if root := t.root(v, c); root < 0 || t.fixed[root] {
			return nil
		}
	}
	return madeBy(v)
}

// madeBy returns the convolution that makes a value, by itself or with activation functions behind it that nothing
// reads beside. nil for others: what a Concat gives an activation function has other means behind that.
func madeBy(v *onnx.Value) *onnx.Node {
	for isActivation(v.Producer) {
		if v = v.Producer.Inputs[0]; len(v.Uses()) != 1 {
			return nil
		}
	}
	if v.Producer == nil || !isPlainConv(v.Producer) {
		return nil
	}
	return v.Producer
}

// isActivation reports whether a node computes an activation function that factors pass, each channel by itself.
func isActivation(n *onnx.Node) bool {
	return n != nil && (n.Is("Relu", "LeakyRelu") || n.Is("PRelu") && channelConstant(n.Inputs[1], int(channelsOf(n.Outputs[0]))))
}
