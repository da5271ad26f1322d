package lint

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// rangeRules: values that the codes cannot hold, codes that no value uses.
var rangeRules = []Rule{
	{
		ID: "clip-window", Level: Warning, Basis: "follows from the graph",
		Title:  "the codes do not hold all values that the Clip in front of the QuantizeLinear lets through",
		Remedy: "choose scale and zero point for the range of the Clip, or narrow the Clip",
		check: clipWindow(func(lo, hi, low, high, scale float64) string {
			if lo < low-scale || hi > high+scale {
				return fmt.Sprintf("the Clip gives %.4g to %.4g, the codes hold %.4g to %.4g", lo, hi, low, high)
			}
			return ""
		}),
	},
	{
		ID: "clip-wasted", Level: Note, Basis: "follows from the graph",
		Title:  "the Clip in front of the QuantizeLinear leaves more than half of the codes unused",
		Remedy: "choose scale and zero point for the range of the Clip",
		check: clipWindow(func(lo, hi, low, high, _ float64) string {
			if used := math.Min(hi, high) - math.Max(lo, low); used > 0 && used < (high-low)/2 {
				return fmt.Sprintf("the Clip gives %.4g to %.4g, the codes hold %.4g to %.4g", lo, hi, low, high)
			}
			return ""
		}),
	},
	{
		ID: "clip-empty", Level: Error, Basis: "follows from the graph",
		Title:  "a Clip whose least value is above its greatest gives a constant",
		Remedy: "exchange its bounds",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if lo, hi := clipRange(n); n.Is("Clip") && lo > hi {
					report(n, "", "min %g, max %g", lo, hi)
				}
			}
		},
	},
	{
		ID: "zero-point-range", Level: Warning, Basis: "follows from the graph",
		Title:  "the zero point lies outside the codes that the integer Clip leaves: zero, and with it padding, has no code",
		Remedy: "widen the Clip or move the zero point into it",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				dq := linearOf(n, "DequantizeLinear")
				if dq == nil {
					continue
				}
				s := sideOf(dq)
				if s.clip != nil && slices.ContainsFunc(dq.zero, func(z float64) bool { return z < s.low || z > s.high }) {
					report(n, n.Outputs[0].Name, "zero point %s, %q leaves codes %.0f to %.0f", zeroText(dq), s.clip.Label(), s.low, s.high)
				}
			}
		},
	},
	{
		ID: "data-clipped", Level: Warning, Basis: "the pictures of --data, run here",
		Title:  "values of these pictures lie outside the range of the codes and are clipped",
		Remedy: "calibrate on pictures like these, or with min and max instead of a percentile (colours shift where bright or dark parts are clipped)",
		check: func(v *view, report reporter) {
			if v.data == nil {
				return
			}
			for _, n := range v.nodes {
				o := v.data.tensors[valueName(n.Input(0))]
				if !isLinear(n, "QuantizeLinear") || o == nil || float64(o.outside) <= clippedShare*float64(o.count) {
					continue
				}
				report(n, n.Input(0).Name, "%.2g%% of the values are clipped: they reach %.4g to %.4g, the codes hold %.4g to %.4g",
					100*float64(o.outside)/float64(o.count), o.least, o.most, o.low, o.high)
			}
		},
	},
}

// clippedShare is the share of values whose clipping is reported: one in a thousand,
// ten times what a 99.99 percentile leaves out.
const clippedShare = 1e-3

func clipWindow(differ func(lo, hi, low, high, scale float64) string) func(*view, reporter) {
	return func(v *view, report reporter) {
		for _, n := range v.nodes {
			if !n.Is("Clip") || len(n.Outputs[0].Uses()) != 1 {
				continue
			}
			q := linearOf(n.Outputs[0].Uses()[0].Node, "QuantizeLinear")
			lo, hi := clipRange(n)
			if q == nil || math.IsInf(lo, 0) || math.IsInf(hi, 0) || lo > hi || len(q.scale) != 1 || len(q.zero) != 1 {
				continue
			}
			low, high := window(q, 0)
			if text := differ(lo, hi, low, high, q.scale[0]); text != "" {
				report(n, n.Outputs[0].Name, "%s", text)
			}
		}
	}
}

// window returns the values that the codes of a quantizer hold in a channel; an
// integer Clip behind it narrows them.
func window(q *linear, channel int) (low, high float64) {
	from, to := least(q.codes), most(q.codes)
	for _, u := range q.node.Outputs[0].Uses() {
		if u.Node.Is("Clip") && u.Index == 0 {
			lo, hi := clipRange(u.Node)
			from, to = max(from, lo), min(to, hi)
		}
	}
	scale, zero := q.scale[min(channel, len(q.scale)-1)], q.zero[min(channel, len(q.zero)-1)]
	return (from - zero) * scale, (to - zero) * scale
}

// Data counts, for the input of every QuantizeLinear, which values of some pictures
// its codes do not hold.
type Data struct {
	tensors map[string]*outside
	names   []string
}

type outside struct {
	q              *linear
	low, high      float64 // of the codes, of all channels
	least, most    float64 // seen
	count, outside int64
}

// NewData lists the tensors to look at; Names says which.
func NewData(m *onnx.Model) (*Data, error) {
	v, err := newView(m, Options{})
	if err != nil {
		return nil, err
	}
	d := &Data{tensors: map[string]*outside{}}
	for _, n := range v.nodes {
		q := linearOf(n, "QuantizeLinear")
		if q == nil || q.block != 0 || len(q.scale) == 0 || len(q.zero) == 0 || constant(n.Input(0)) != nil || n.Input(0).Graph() == nil || d.tensors[n.Input(0).Name] != nil {
			continue
		}
		if outer, _ := n.Graph().Outer(); outer != nil {
			continue // tensors inside of If and Loop cannot be observed
		}
		o := &outside{q: q, low: math.Inf(1), high: math.Inf(-1), least: math.Inf(1), most: math.Inf(-1)}
		for c := range q.scale {
			low, high := window(q, c)
			o.low, o.high = min(o.low, low), max(o.high, high)
		}
		d.tensors[n.Input(0).Name] = o
		d.names = append(d.names, n.Input(0).Name)
	}
	return d, nil
}

// Names returns the tensors to observe.
func (d *Data) Names() []string { return d.names }

// Observe counts the values of one of them.
func (d *Data) Observe(name string, t *runtime.Tensor) error {
	o := d.tensors[name]
	x, err := t.Float32s()
	if o == nil || err != nil {
		return err
	}
	channels, inner := 1, len(x)
	if len(o.q.scale) > 1 {
		axis := int(o.q.axis)
		if axis < 0 {
			axis += len(t.Shape)
		}
		if axis < 0 || axis >= len(t.Shape) || t.Shape[axis] != len(o.q.scale) {
			return fmt.Errorf("tensor %q is %s, its quantizer has %d scales", name, t, len(o.q.scale))
		}
		channels, inner = len(o.q.scale), 1
		for _, d := range t.Shape[axis+1:] {
			inner *= d
		}
	}
	for i := 0; i < len(x); i += max(1, inner) {
		low, high := window(o.q, i/max(1, inner)%channels)
		half := o.q.scale[min(i/max(1, inner)%channels, len(o.q.scale)-1)] / 2 // what rounds to the last code is held
		for _, value := range x[i : i+inner] {
			f := float64(value)
			o.least, o.most = min(o.least, f), max(o.most, f)
			if f < low-half || f > high+half {
				o.outside++
			}
		}
	}
	o.count += int64(len(x))
	return nil
}

func valueName(v *onnx.Value) string {
	if v == nil {
		return ""
	}
	return v.Name
}
