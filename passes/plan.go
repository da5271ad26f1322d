package passes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// Plan is every choice of the DAQ method for one simplified graph, decided
// before anything is rewritten. It is data: saved as JSON, edited by hand and
// given back, it is obeyed.
type Plan struct {
	Format      string           `json:"format"`
	Model       string           `json:"model,omitempty"`  // SHA-256 of the float file it was made for
	Mode        target.Mode      `json:"mode,omitempty"`   // dynamic when empty
	Target      string           `json:"target,omitempty"` // that a static plan is for
	Rule        Rule             `json:"rule"`
	SigmaBits   int              `json:"sigma_bits,omitempty"` // bits of sigma across channels ("qq"), 0 for float
	InputRange  float32          `json:"input_range,omitempty"`
	Images      int              `json:"calibration_images,omitempty"` // pictures the steps were chosen on
	Prunes      []PrunePlan      `json:"prunes,omitempty"`             // channels taken out, static plans
	Folds       []FoldPlan       `json:"folds,omitempty"`              // factors of the channels left, static plans
	Activations []ActivationPlan `json:"activations"`
	Weights     []WeightPlan     `json:"weights"`
}

// PlanFormat is the Format this version writes and reads.
const PlanFormat = "daq plan 1"

// ActivationPlan quantizes one tensor where some convolutions read it.
type ActivationPlan struct {
	Tensor       string    `json:"tensor"`
	Readers      []string  `json:"readers,omitempty"`       // names of the convolutions; of a static plan: these alone, or all readers
	PostReLU     bool      `json:"post_relu"`               // the window starts at zero
	ReLUChannels []int     `json:"relu_channels,omitempty"` // where only these follow a ReLU: a Concat of both kinds
	Bits         int       `json:"bits"`                    // 1 to 8
	ChannelBits  []int     `json:"channel_bits,omitempty"`  // of each channel where they differ; bits is the most of them
	Steps        []float32 `json:"steps,omitempty"`         // in units of sigma: one, or one for each channel; the rule's when empty
	Starts       []float32 `json:"starts,omitempty"`        // lowest level of each step, in units of sigma from the mean; symmetric when empty
	Except       []string  `json:"except,omitempty"`        // static, all readers: nodes that read it unquantized
	Scale        float32   `json:"scale,omitempty"`         // static: distance of two codes
	ZeroPoint    int       `json:"zero_point,omitempty"`    // static: the code of 0
	Symmetric    bool      `json:"symmetric,omitempty"`     // static: codes on both sides of 0, as many
}

// bitsOf returns the bit-width of a channel.
func (a *ActivationPlan) bitsOf(channel int) int {
	if len(a.ChannelBits) > 0 {
		return a.ChannelBits[channel]
	}
	return a.Bits
}

// WeightPlan quantizes the weights of one convolution.
type WeightPlan struct {
	Node    string    `json:"node"`
	Bits    int       `json:"bits"`               // 1 to 8
	Scales  []float32 `json:"scales,omitempty"`   // distance of two levels: one, or one for each output channel; the rule's when empty
	Nearest bool      `json:"nearest,omitempty"`  // to the nearest codes, even where there are pictures to round for
	Block   int       `json:"block,omitempty"`    // storage: input channels that share a scale, 0 for all of them
	PairSum int       `json:"pair_sum,omitempty"` // static: bound of the sum of two codes that are added in a pair, 0 for none
}

// choices name the weights of a convolution and what is chosen for them: where these are the same, so are the codes.
func (w *WeightPlan) choices(n *onnx.Node) string {
	return fmt.Sprint(n.Op, w.Bits, w.Scales, w.Nearest, w.Block, w.PairSum, n.Inputs[1].Name)
}

// Rule is how steps are chosen where the plan does not state them.
//
//	paper       s(n), best for a normal distribution; weights: one sigma a tensor
//	wide        s(n-1), which leaves room for heavy tails; weights as in paper
//	calibrated  for each channel the window of least squared error over its
//	            calibration histogram; weights: rounded for the calibration
//	            pictures (Round), or least squared error for each output
//	            channel where there are none
//	a number    that step in units of sigma, for activations and weights
type Rule string

// The named rules.
const (
	Paper      Rule = "paper"
	Wide       Rule = "wide"
	Calibrated Rule = "calibrated"
)

// ParseRule checks the text of a rule.
func ParseRule(s string) (Rule, error) {
	switch Rule(s) {
	case Paper, Wide, Calibrated:
		return Rule(s), nil
	}
	step, err := strconv.ParseFloat(s, 32)
	if err != nil || quant.CheckStep(float32(step)) != nil {
		return "", fmt.Errorf("step %q: want paper, wide, calibrated or a positive number of standard deviations", s)
	}
	return Rule(s), nil
}

// step returns the step in units of sigma at a bit-width. The calibrated rule
// has none of its own; without calibration data it falls back to paper.
func (r Rule) step(bits int) float32 {
	switch r {
	case Wide:
		return quant.WideStep(bits)
	case Paper, Calibrated, "":
		return quant.PaperStep(bits)
	}
	step, _ := strconv.ParseFloat(string(r), 32)
	return float32(step)
}

// Settings are what a plan is made from.
type Settings struct {
	WeightBits     int // 1 to 8
	ActivationBits int // 1 to 8
	SigmaBits      int // 1 to 8, 0 leaves sigma in float
	Rule           Rule
	Layers         Layers
}

func (s Settings) check() error {
	if err := quant.CheckBits(s.WeightBits); err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	if err := quant.CheckBits(s.ActivationBits); err != nil {
		return fmt.Errorf("activations: %w", err)
	}
	if s.SigmaBits != 0 {
		if err := quant.CheckBits(s.SigmaBits); err != nil {
			return fmt.Errorf("sigma: %w", err)
		}
	}
	_, err := ParseRule(string(s.Rule))
	return err
}

// MakePlan decides how the convolutions that the settings select are
// quantized. Types must be inferred. profile is read for the calibrated rule
// only, and may be nil otherwise.
func MakePlan(g *onnx.Graph, s Settings, profile *calib.Profile) (*Plan, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	convs, err := Select(g, s.Layers)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Format: PlanFormat, Rule: s.Rule, SigmaBits: s.SigmaBits}
	at, ordered := map[string]int{}, isOrdered(g)
	for _, n := range convs {
		w := WeightPlan{Node: n.Label(), Bits: s.WeightBits}
		w.Nearest = s.Rule == Calibrated && !(ordered && isMatrix(n))
		plan.Weights = append(plan.Weights, w)
		x := n.Inputs[0]
		i, seen := at[x.Name]
		if !seen {
			i = len(plan.Activations)
			at[x.Name] = i
			a := ActivationPlan{Tensor: x.Name, PostReLU: NonNegative(x), Bits: s.ActivationBits}
			if s.Rule == Calibrated {
				if err = a.calibrate(profile, false); err != nil {
					return nil, err
				}
			}
			plan.Activations = append(plan.Activations, a)
		}
		plan.Activations[i].Readers = append(plan.Activations[i].Readers, n.Label())
	}
	return plan, nil
}

// Tensors returns the names of the tensors that the selected convolutions read:
// what must be observed for a calibrated plan.
func Tensors(convs []*onnx.Node) []string {
	var names []string
	for _, n := range convs {
		if name := n.Inputs[0].Name; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// weightLevels returns the number of codes of weights: a static plan has the
// symmetric ones around zero, but for blocks.
func (p *Plan) weightLevels(w *WeightPlan) int {
	if p.Mode == target.Static && w.Block == 0 {
		return quant.Levels(w.Bits) - 1
	}
	return quant.Levels(w.Bits)
}

// Protect returns a plan that has bits bits for some tensors and for the weights
// of the convolutions that read them. profile is what the plan was made from.
func (p *Plan) Protect(tensors []string, bits int, profile *calib.Profile) (*Plan, error) {
	protected := *p
	protected.Activations, protected.Weights = slices.Clone(p.Activations), slices.Clone(p.Weights)
	for i := range protected.Activations {
		a := &protected.Activations[i]
		if !slices.Contains(tensors, a.Tensor) {
			continue
		}
		a.Bits, a.ChannelBits, a.ReLUChannels = bits, nil, nil
		if err := a.calibrate(profile, false); err != nil {
			return nil, err
		}
		for j := range protected.Weights {
			if w := &protected.Weights[j]; slices.Contains(a.Readers, w.Node) {
				w.Bits = bits
			}
		}
	}
	return &protected, nil
}

// KeepOutliers returns a plan of the same bits whose windows clip less and let more noise
// through. profile is what the plan was made from.
func (p *Plan) KeepOutliers(profile *calib.Profile) (*Plan, error) {
	wider := *p
	wider.Activations = slices.Clone(p.Activations)
	for i := range wider.Activations {
		a := &wider.Activations[i]
		a.ReLUChannels = nil
		if err := a.calibrate(profile, true); err != nil {
			return nil, err
		}
	}
	return &wider, nil
}

// JSON returns the plan as indented JSON, one entry of a list a line.
func (p *Plan) JSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(p); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// ParsePlan reads a plan; a field that it does not know is an error, because it
// is most likely a misspelt choice.
func ParsePlan(data []byte) (*Plan, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	p := &Plan{}
	if err := dec.Decode(p); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if dec.More() {
		return nil, fmt.Errorf("plan: there is more behind the end of the plan")
	}
	if p.Format != PlanFormat {
		return nil, fmt.Errorf("plan: format %q, this version reads %q", p.Format, PlanFormat)
	}
	if _, err := ParseRule(string(p.Rule)); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if p.SigmaBits != 0 {
		if err := quant.CheckBits(p.SigmaBits); err != nil {
			return nil, fmt.Errorf("plan: sigma_bits: %w", err)
		}
	}
	if p.InputRange != 0 && p.InputRange != 1 && p.InputRange != 255 {
		return nil, fmt.Errorf("plan: input_range %g: want 1 or 255", p.InputRange)
	}
	if len(p.Activations)+len(p.Weights) == 0 {
		return nil, fmt.Errorf("plan: it quantizes nothing: give activations or weights")
	}
	if err := p.checkPrunes(); err != nil {
		return nil, err
	}
	for _, a := range p.Activations {
		if err := a.check(p.Rule); err != nil {
			return nil, fmt.Errorf("plan: tensor %q: %w", a.Tensor, err)
		}
	}
	nodes := map[string]bool{}
	for _, w := range p.Weights {
		if err := w.check(); err != nil {
			return nil, fmt.Errorf("plan: weights of %q: %w", w.Node, err)
		}
		if nodes[w.Node] {
			return nil, fmt.Errorf("plan: weights of %q are named twice: keep one entry", w.Node)
		}
		nodes[w.Node] = true
	}
	return p, p.checkReaders()
}

// checkPrunes refuses prunes that no network can have.
func (p *Plan) checkPrunes() error {
	if len(p.Prunes) > 0 && p.Mode != target.Static {
		return fmt.Errorf("plan: prunes are for static graphs: set the mode to %s", target.Static)
	}
	for i, prune := range p.Prunes {
		if slices.ContainsFunc(p.Prunes[:i], func(other PrunePlan) bool { return other.Tensor == prune.Tensor }) {
			return fmt.Errorf("plan: prune of tensor %q is named twice: keep one entry", prune.Tensor)
		}
		if err := prune.check(math.MaxInt); err != nil {
			return fmt.Errorf("plan: prune of tensor %q: %w", prune.Tensor, err)
		}
	}
	return nil
}

// checkReaders refuses a convolution whose input is planned twice.
func (p *Plan) checkReaders() error {
	readers := map[string]string{}
	for _, a := range p.Activations {
		for _, r := range a.Readers {
			if other, twice := readers[r]; twice {
				return fmt.Errorf("plan: convolution %q reads %q and %q: name it once", r, other, a.Tensor)
			}
			readers[r] = a.Tensor
		}
	}
	return nil
}

func (a *ActivationPlan) check(rule Rule) error {
	if err := quant.CheckBits(a.Bits); err != nil {
		return err
	}
	if len(a.Starts) != 0 && len(a.Starts) != len(a.Steps) {
		return fmt.Errorf("%d starts for %d steps: give one for each, or none", len(a.Starts), len(a.Steps))
	}
	for c, b := range a.ChannelBits {
		if err := quant.CheckBits(b); err != nil {
			return fmt.Errorf("channel %d: %w", c, err)
		}
	}
	if n := len(a.ChannelBits); n > 0 && (n != len(a.Steps) || slices.Max(a.ChannelBits) != a.Bits) {
		return fmt.Errorf("channel_bits: want one for each of the %d steps, the most of them %d as bits says", len(a.Steps), a.Bits)
	}
	if a.Scale != 0 {
		return a.checkStatic()
	}
	if len(a.Steps) == 0 && rule == Calibrated {
		return fmt.Errorf("the calibrated rule needs steps: give them, or set the rule to paper")
	}
	return checkSteps(a.Steps)
}

func (a *ActivationPlan) checkStatic() error {
	if len(a.Steps) > 0 || len(a.ChannelBits) > 0 {
		return fmt.Errorf("it has a scale, which is static, and steps or channel_bits, which are dynamic: keep one")
	}
	if most := 1<<a.Bits - 1; a.ZeroPoint < -(most+1)/2 || a.ZeroPoint > most {
		return fmt.Errorf("zero_point %d is no code of %d bits", a.ZeroPoint, a.Bits)
	}
	return quant.CheckStep(a.Scale)
}

func (w *WeightPlan) check() error {
	if err := quant.CheckBits(w.Bits); err != nil {
		return err
	}
	if w.Block < 0 || w.Block > 0 && (w.Bits < 2 || w.Bits == 8 || len(w.Scales) > 0) {
		return fmt.Errorf("block %d with %d bits and %d scales: blocks are for 2 to 7 bits and have scales of their own", w.Block, w.Bits, len(w.Scales))
	}
	return checkSteps(w.Scales)
}

func checkSteps(steps []float32) error {
	for _, s := range steps {
		if err := quant.CheckStep(s); err != nil {
			return err
		}
	}
	return nil
}
