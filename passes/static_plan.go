package passes

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// edgeBits are the bits of what is not in the body (Layers), and of tensors that
// something else than a convolution reads: sums of residual blocks.
const edgeBits = 8

// StaticTensors returns the names of the tensors that a static plan for the target
// needs statistics of. Types must be inferred.
func StaticTensors(g *onnx.Graph, t *target.Target, l Layers) []string {
	var names []string
	p := place(g, t, l)
	for _, v := range p.values {
		if slices.Contains(p.grids[v].heads, v) && !p.onGrid(v) {
			names = append(names, v.Name)
		}
	}
	return names
}

// MakeStaticPlan decides the factors of channels, the scale and zero point of
// every tensor, and the bits of weights, for a static graph. Types must be
// inferred. inputRange is the value of white.
func MakeStaticPlan(g *onnx.Graph, s Settings, t *target.Target, profile *calib.Profile, inputRange float32) (*Plan, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	for _, bits := range []int{s.WeightBits, s.ActivationBits} {
		if bits < 2 {
			return nil, fmt.Errorf("%d bit: static quantization needs at least 2", bits)
		}
	}
	if s.ActivationBits < 8 && !t.Activations.IntegerClip {
		return nil, fmt.Errorf("%s has no activations of fewer than 8 bits: choose --activation-bits 8, or the target onnxruntime", t.For)
	}
	chosen, err := Select(g, s.Layers)
	if err != nil {
		return nil, err
	}
	m := &staticPlanner{
		settings: s, target: t, profile: profile, white: inputRange, place: place(g, t, s.Layers), ties: newTies(g), body: map[*onnx.Node]bool{},
	}
	for _, n := range chosen {
		m.body[n] = true
	}
	if len(m.place.convs) == 0 {
		return nil, fmt.Errorf("no convolution can be computed in integers by %s", t.For)
	}
	return m.plan(g)
}

type staticPlanner struct {
	settings Settings
	target   *target.Target
	profile  *calib.Profile
	white    float32
	place    *placement
	ties     *ties
	body     map[*onnx.Node]bool
	factors  map[int]float64
	energy   map[*onnx.Value][]float64
}

func (m *staticPlanner) bits(conv *onnx.Node) (activations, weights int) {
	if m.body[conv] && !isSide(conv) && !m.place.givesFloats(conv) {
		return m.settings.ActivationBits, m.settings.WeightBits
	}
	return edgeBits, edgeBits
}

// channels returns the statistics of a value that a convolution may read: its own,
// or those of the Concat that it is a part of. nil without.
func (m *staticPlanner) channels(v *onnx.Value) []calib.ChannelStats {
	if whole, at := m.place.whole(v); whole != nil {
		if s := m.channels(whole); s != nil {
			return s[at : at+int(channelsOf(v))]
		}
	} else if s := m.profile.Tensors[v.Name]; s != nil {
		return s.Channels
	}
	return nil
}

func (m *staticPlanner) factor(v *onnx.Value, c int) float64 {
	if f, ok := m.factors[m.ties.root(v, c)]; ok {
		return f
	}
	return 1
}

func (m *staticPlanner) plan(g *onnx.Graph) (*Plan, error) {
	for _, v := range m.place.values {
		if m.place.onGrid(v) || !slices.Contains(m.place.grids[v].heads, v) {
			continue
		}
		s := m.profile.Tensors[v.Name]
		if s == nil {
			return nil, fmt.Errorf("tensor %q was not calibrated: calibrate the same network with the same --target, --layers, --include and --exclude", v.Name)
		}
		if c, n := s.NonFinite(); c >= 0 {
			return nil, fmt.Errorf("tensor %q: channel %d had %d NaN or infinite values during calibration: the float network is broken, or --input-range is wrong", v.Name, c, n)
		}
	}
	m.energy = energies(g, m.ties)
	b := &balance{ties: m.ties, place: m.place, energy: m.energyOf, bits: m.bits, ranges: map[*onnx.Value][]float64{}, power: map[*onnx.Value][]float64{}}
	for _, v := range m.place.values {
		if m.place.onGrid(v) {
			continue
		}
		if s := m.channels(v); s != nil {
			b.ranges[v], b.power[v] = m.ranges(v, s), powers(s)
			for c := range s {
				if m.place.onGridOfOthers(v, c) {
					b.ranges[v][c], b.power[v][c] = 0, 0
				}
			}
		}
	}
	m.factors = b.factors()
	plan := &Plan{Format: PlanFormat, Mode: target.Static, Target: m.target.Name, Rule: Calibrated, InputRange: m.white, Images: m.profile.Pictures()}
	m.folds(plan)
	m.activations(plan)
	m.apart(g, plan)
	m.followers(plan)
	for _, n := range g.Nodes {
		if m.place.convs[n] {
			activations, bits := m.bits(n)
			if x := n.Inputs[0]; m.place.onGrid(x) || m.place.sideBySide(x.Producer) {
				activations = edgeBits
			}
			w := WeightPlan{Node: n.Label(), Bits: bits}
			if activations == 8 && bits == 8 {
				w.PairSum = m.target.Weights.PairSum
			}
			plan.Weights = append(plan.Weights, w)
		}
	}
	return plan, nil
}

// energyOf is the energy of a channel where it is rounded.
func (m *staticPlanner) energyOf(v *onnx.Value, c int) float64 {
	if m.place.onGridOfOthers(v, c) {
		return 0
	}
	v, c = m.place.part(v, c)
	return m.energy[v][c]
}

// ranges returns the largest magnitude of each channel that is worth representing.
func (m *staticPlanner) ranges(v *onnx.Value, s []calib.ChannelStats) []float64 {
	slopes := m.place.slopes(v)
	r := make([]float64, len(s))
	for c := range s {
		bins := channelBins(&s[c])
		total, tail := 0.0, 0.0
		for i, b := range bins {
			bins[i].Mass *= belowZero(b, slopes.at(c))
			total += bins[i].Mass
		}
		slices.SortFunc(bins, func(a, b quant.Bin) int { return cmp.Compare(reach(b), reach(a)) })
		for _, b := range bins {
			if tail += b.Mass; tail > tailShare*total {
				r[c] = reach(b)
				break
			}
		}
	}
	return r
}

// tailShare is the share of a channel's values that the balance leaves out of sight.
const tailShare = 1e-5

func reach(b quant.Bin) float64 { return max(math.Abs(b.Lo), math.Abs(b.Hi)) }

// folds writes the factors into the plan, each by the first tensor that has it.
func (m *staticPlanner) folds(plan *Plan) {
	seen := map[int]bool{}
	for _, v := range m.place.values {
		if _, ok := m.ties.base[v]; !ok {
			continue
		}
		fresh, f := false, FoldPlan{Tensor: v.Name}
		for c := range int(channelsOf(v)) {
			root := m.ties.root(v, c)
			factor := float32(m.factor(v, c))
			fresh = fresh || factor != 1 && !seen[root]
			f.Factors = append(f.Factors, factor)
		}
		if !fresh {
			continue
		}
		for c := range f.Factors {
			seen[m.ties.root(v, c)] = true
		}
		plan.Folds = append(plan.Folds, f)
	}
}

// activations writes scale and zero point of every quantized tensor into the plan.
func (m *staticPlanner) activations(plan *Plan) {
	for _, v := range m.place.values {
		if m.place.onGrid(v) {
			plan.Activations = append(plan.Activations, ActivationPlan{Tensor: v.Name, Bits: edgeBits, Scale: m.white / 255, Except: m.place.floatReaders(v)})
			continue
		}
		s := m.spectrum(m.place.grids[v])
		quantizer := func(bits int) ActivationPlan {
			a := ActivationPlan{Tensor: v.Name, PostReLU: s.low >= 0, Bits: bits, Symmetric: m.target.Activations.Symmetric}
			levels := 1 << bits
			if m.target.Activations.Symmetric {
				levels--
			}
			a.Scale, a.ZeroPoint = s.window(levels, m.target.Activations.Symmetric)
			return a
		}
		// What only convolutions of the body read needs no more than their bits.
		least, most := 8, 0
		for _, w := range m.place.grids[v].values {
			for _, bits := range m.wanted(w) {
				least, most = min(least, bits), max(most, bits)
			}
		}
		whole := edgeBits
		if least == most {
			whole = least
		}
		all := quantizer(whole)
		all.Except = m.place.floatReaders(v)
		plan.Activations = append(plan.Activations, all)
		byBits := map[int][]string{}
		for _, u := range v.Uses() {
			if m.place.convs[u.Node] && u.Index == 0 {
				if bits, _ := m.bits(u.Node); bits < whole {
					byBits[bits] = append(byBits[bits], u.Node.Label())
				}
			}
		}
		for bits := 1; bits < whole; bits++ {
			if readers := byBits[bits]; len(readers) > 0 {
				a := quantizer(bits)
				a.Readers = readers
				plan.Activations = append(plan.Activations, a)
			}
		}
	}
}

// spectrum returns the distribution of the values on a grid.
func (m *staticPlanner) spectrum(g *grid) *spectrum {
	var channels []spectrumChannel
	for _, v := range g.heads {
		slopes := m.place.slopes(v)
		for c, s := range m.channels(v) {
			if m.place.onGridOfOthers(v, c) {
				continue
			}
			channels = append(channels, spectrumChannel{&s, m.factor(v, c), m.energyOf(v, c), slopes.at(c)})
		}
	}
	s := newSpectrum(channels)
	s.passed = m.place.passedByFloats(g)
	s.gate = len(g.values) == 1 && opensGate(g.values[0])
	return s
}

// wanted returns the bits in which the readers of a value want it.
func (m *staticPlanner) wanted(v *onnx.Value) (bits []int) {
	for _, u := range v.Uses() {
		switch {
		case m.place.convs[u.Node] && u.Index == 0:
			a, _ := m.bits(u.Node)
			bits = append(bits, a)
		case (m.place.moves(u.Node) || m.place.concatenates(u.Node)) && m.place.grids[u.Node.Outputs[0]] == m.place.grids[v]:
		default:
			bits = append(bits, edgeBits)
		}
	}
	if v.IsOutput() || len(v.Uses()) == 0 {
		bits = append(bits, edgeBits)
	}
	return bits
}
