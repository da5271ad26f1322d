package passes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/daq-sr/daq/internal/target"
)

// PlanChange is a choice that differs between two plans; an empty text means
// that a plan does not have it.
type PlanChange struct {
	What string `json:"what"` // "rule", "tensor conv1 bits", ...
	From string `json:"from"`
	To   string `json:"to"`
}

// DiffPlans lists where two plans differ, in the order of the first.
func DiffPlans(a, b *Plan) []PlanChange {
	var changes []PlanChange
	note := func(what string, from, to any) {
		if f, t := fmt.Sprint(from), fmt.Sprint(to); f != t {
			changes = append(changes, PlanChange{what, f, t})
		}
	}
	note("model", a.Model, b.Model)
	note("rule", a.Rule, b.Rule)
	note("sigma bits", a.SigmaBits, b.SigmaBits)
	note("input range", a.InputRange, b.InputRange)
	note("calibration images", a.Images, b.Images)
	note("mode", cmp.Or(a.Mode, target.Dynamic), cmp.Or(b.Mode, target.Dynamic))
	note("target", a.Target, b.Target)
	pairs(a.Prunes, b.Prunes, func(x PrunePlan) string { return x.Tensor }, func(name string, x, y *PrunePlan) {
		from, to := orNone(x), orNone(y)
		note("prune of "+name, from.text(to), to.text(from))
		if slices.Equal(from.Channels, to.Channels) {
			note("prune of "+name+" means", summary(from.Means, to.Means, "none"), summary(to.Means, from.Means, "none"))
		}
	})
	pairs(a.Folds, b.Folds, func(x FoldPlan) string { return x.Tensor }, func(name string, x, y *FoldPlan) {
		from, to := orNone(x).Factors, orNone(y).Factors
		note("fold of "+name, summary(from, to, "none"), summary(to, from, "none"))
	})
	pairs(a.Activations, b.Activations, func(x ActivationPlan) string { return x.Tensor }, func(name string, x, y *ActivationPlan) {
		what := "tensor " + name
		if x == nil || y == nil {
			note(what, presence(x != nil), presence(y != nil))
			return
		}
		note(what+" bits", x.bitsText(), y.bitsText())
		note(what+" readers", strings.Join(x.Readers, ", "), strings.Join(y.Readers, ", "))
		note(what+" starts at zero", x.zeroText(), y.zeroText())
		note(what+" steps", summary(x.Steps, y.Steps, "the rule's"), summary(y.Steps, x.Steps, "the rule's"))
		note(what+" scale", x.Scale, y.Scale)
		note(what+" zero point", x.ZeroPoint, y.ZeroPoint)
		note(what+" starts", summary(x.Starts, y.Starts, "symmetric"), summary(y.Starts, x.Starts, "symmetric"))
	})
	pairs(a.Weights, b.Weights, func(x WeightPlan) string { return x.Node }, func(name string, x, y *WeightPlan) {
		what := "weights of " + name
		if x == nil || y == nil {
			note(what, presence(x != nil), presence(y != nil))
			return
		}
		note(what+" bits", x.Bits, y.Bits)
		note(what+" nearest", x.Nearest, y.Nearest)
		note(what+" scales", summary(x.Scales, y.Scales, "the rule's"), summary(y.Scales, x.Scales, "the rule's"))
	})
	return changes
}

// pairs calls f for each entry of a with its namesake in b, or nil, then for
// those that b alone has.
func pairs[T any](a, b []T, name func(T) string, f func(name string, x, y *T)) {
	find := func(list []T, n string) *T {
		if i := slices.IndexFunc(list, func(v T) bool { return name(v) == n }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	for i := range a {
		f(name(a[i]), &a[i], find(b, name(a[i])))
	}
	for i := range b {
		if n := name(b[i]); find(a, n) == nil {
			f(n, nil, &b[i])
		}
	}
}

// orNone returns an entry, or an empty one where a plan has none.
func orNone[T any](entry *T) T {
	if entry == nil {
		return *new(T)
	}
	return *entry
}

// text tells the channels that are taken out, and the first of those that the other plan leaves.
func (p *PrunePlan) text(other PrunePlan) string {
	var alone []string
	for _, c := range p.Channels {
		if !slices.Contains(other.Channels, c) {
			alone = append(alone, fmt.Sprint(c))
		}
	}
	const most = 5
	switch n := len(alone); {
	case len(p.Channels) == 0:
		return "no channels"
	case n == 0 || len(other.Channels) == 0:
		return fmt.Sprintf("%d channels", len(p.Channels))
	case n > most:
		return fmt.Sprintf("%d channels, here alone %s and %d more", len(p.Channels), strings.Join(alone[:most], ", "), n-most)
	}
	return fmt.Sprintf("%d channels, here alone %s", len(p.Channels), strings.Join(alone, ", "))
}

func presence(there bool) string {
	if there {
		return "quantized"
	}
	return "float"
}

func (a *ActivationPlan) bitsText() string {
	if len(a.ChannelBits) == 0 {
		return fmt.Sprint(a.Bits)
	}
	sum := 0
	for _, b := range a.ChannelBits {
		sum += b
	}
	return fmt.Sprintf("%d-%d, %.2f on average", slices.Min(a.ChannelBits), slices.Max(a.ChannelBits), float64(sum)/float64(len(a.ChannelBits)))
}

func (a *ActivationPlan) zeroText() string {
	switch {
	case len(a.ReLUChannels) > 0:
		return fmt.Sprintf("channels %v", a.ReLUChannels)
	case a.PostReLU:
		return "yes"
	}
	return "no"
}

// summary tells a list so that it differs from another one's text when they
// differ.
func summary(v, other []float32, none string) string {
	switch {
	case len(v) == 0:
		return none
	case len(v) == 1:
		return fmt.Sprint(v[0])
	case len(v) == len(other):
		differ, first := 0, -1
		for i := range v {
			if v[i] != other[i] {
				if differ++; first < 0 {
					first = i
				}
			}
		}
		if differ == 0 {
			return "the same"
		}
		return fmt.Sprintf("%g at channel %d (%d of %d differ)", v[first], first, differ, len(v))
	}
	return fmt.Sprintf("%d from %g to %g", len(v), slices.Min(v), slices.Max(v))
}
