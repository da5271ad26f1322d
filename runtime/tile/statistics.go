package tile

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// statistic is a reduction of a map over height and width. Each tile computes it
// of its own part; merge makes that of the picture.
type statistic struct {
	node   *onnx.Node
	mean   bool // parts count by their area
	sum    bool // likewise, but the values are those of a mean times the area of all
	add    func(a, b float64) float64
	level  int
	center *center // of a mean or sum of squares around another statistic
}

// center is the c of a mean or sum of (X-c)^2, or of (X-c)^2*mask. Tiles take
// their own; the law of total variance brings the squares around that of all.
type center struct {
	value *onnx.Value
	share *statistic // the mean of the mask; nil without
}

// reductions are the operators that make statistics.
var reductions = map[string]statistic{
	"GlobalAveragePool": {mean: true, add: plus},
	"ReduceMean":        {mean: true, add: plus},
	"ReduceSum":         {mean: true, sum: true, add: plus},
	"ReduceSumSquare":   {mean: true, sum: true, add: plus},
	"ReduceL1":          {mean: true, sum: true, add: plus},
	"ReduceL2":          {add: math.Hypot},
	"GlobalMaxPool":     {add: math.Max},
	"ReduceMax":         {add: math.Max},
	"ReduceMin":         {add: math.Min},
}

func plus(a, b float64) float64 { return a + b }

// statistic returns the statistic that a node with a map as input makes, nil when
// it makes none.
func (a *analysis) statistic(n *onnx.Node) (*statistic, error) {
	r, ok := reductions[n.Op]
	if !ok || n.Domain != "" && n.Domain != "ai.onnx" {
		return nil, nil
	}
	if !n.Is("GlobalAveragePool", "GlobalMaxPool") {
		axes := a.ints(n, "axes", 1)
		if axes == nil && (n.Input(1) != nil || n.Int("noop_with_empty_axes", 0) != 0) {
			return nil, fmt.Errorf("the axes are not known")
		}
		along := [4]bool{}
		for _, at := range axes {
			if at < 0 {
				at += 4
			}
			if at < 0 || at > 3 {
				return nil, fmt.Errorf("axis %d of a map", at)
			}
			along[at] = true
		}
		switch {
		case axes != nil && !along[2] && !along[3]:
			return nil, nil
		case axes != nil && along[2] != along[3]:
			return nil, fmt.Errorf("it reduces one axis of the picture and keeps the other")
		}
	}
	if n.Outputs[0].Type.Elem != onnx.Float {
		return nil, fmt.Errorf("a statistic of %s", n.Outputs[0].Type)
	}
	r.node, r.level = n, a.of(n.Inputs[0]).level+1
	if n.Is("GlobalAveragePool", "ReduceMean", "ReduceSum") {
		if r.center = a.center(n.Inputs[0]); r.center != nil {
			r.level-- // is merged together with its center
		}
	}
	return &r, nil
}

// joinReductions makes one node of two that reduce height and width one after the
// other, as some exporters write it.
func joinReductions(m *onnx.Model) {
	g := m.Graph
	for _, n := range slices.Clone(g.Nodes) {
		if !n.Is("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin") {
			continue
		}
		before := n.Inputs[0].Producer
		if before == nil || before.Op != n.Op || len(n.Inputs[0].Uses()) != 1 || n.Inputs[0].IsOutput() || n.Int("keepdims", 1) == 0 || before.Int("keepdims", 1) == 0 {
			continue
		}
		one, two := reducedAxes(before), reducedAxes(n)
		if !slices.Equal(one, []int64{3}) || !slices.Equal(two, []int64{2}) {
			if !slices.Equal(one, []int64{2}) || !slices.Equal(two, []int64{3}) {
				continue
			}
		}
		if n.Attr("axes") != nil {
			n.SetAttr("axes", []int64{2, 3})
		} else {
			n.SetInput(1, g.AddInitializer(n.Outputs[0].Name+"_axes", onnx.Int64s(2, 3)))
		}
		n.SetInput(0, before.Inputs[0])
		g.Remove(before)
	}
}

// reducedAxes returns the axes of a reduction of a map, nil when they are computed.
func reducedAxes(n *onnx.Node) []int64 {
	axes := n.Ints("axes")
	if v := n.Input(1); axes == nil && v != nil {
		if t := v.Const; t != nil {
			axes, _ = t.Int64s()
		} else if v.Producer != nil {
			if t := v.Producer.ConstantTensor(); t != nil {
				axes, _ = t.Int64s()
			}
		}
	}
	axes = slices.Clone(axes)
	for i, at := range axes {
		if at < 0 && len(n.Inputs[0].Type.Shape) > 0 {
			axes[i] += int64(len(n.Inputs[0].Type.Shape))
		}
	}
	return axes
}

// center recognises Mul(e, e) or Pow(e, 2) with e = Sub(X, c) or Mul(e, mask).
func (a *analysis) center(squares *onnx.Value) *center {
	n := squares.Producer
	if n == nil || !n.Is("Mul", "Pow") {
		return nil
	}
	if n.Is("Mul") && n.Inputs[0] != n.Inputs[1] {
		return nil
	}
	if n.Is("Pow") {
		if t := a.constant(n.Inputs[1]); t == nil || !isTwo(t) {
			return nil
		}
	}
	e := n.Inputs[0]
	var share *statistic
	if n = e.Producer; n != nil && n.Is("Mul") {
		i := slices.IndexFunc(a.statistics, func(s *statistic) bool { return s.mean && !s.sum && s.node.Inputs[0] == n.Inputs[1] })
		if i < 0 {
			return nil
		}
		share, n = a.statistics[i], n.Inputs[0].Producer
	}
	if n == nil || !n.Is("Sub") || a.of(n.Inputs[0]).kind != field || a.of(n.Inputs[1]).kind != whole {
		return nil
	}
	x, c := a.of(n.Inputs[0]), n.Inputs[1]
	if a.of(c).level != x.level+1 { // a statistic of X, and of nothing later
		return nil
	}
	return &center{c, share}
}

func isTwo(t *onnx.Tensor) bool {
	x, err := runtime.FromONNX(t)
	if err != nil || x.Len() != 1 {
		return false
	}
	switch d := x.Data.(type) {
	case []float32:
		return d[0] == 2
	case []int64:
		return d[0] == 2
	case []int32:
		return d[0] == 2
	}
	return false
}

// part is what one tile computed: statistics and centers by name, and the elements
// that each statistic is of.
type part struct {
	values map[string]*runtime.Tensor
	areas  []float64 // by statistic
}

// merge returns statistic number i of the picture from those of its tiles. center
// is the merged one, nil where it has none.
func (s *statistic) merge(i int, parts []part, center *runtime.Tensor) *runtime.Tensor {
	name := s.node.Outputs[0].Name
	all := 0.0
	for _, p := range parts {
		all += p.areas[i]
	}
	shape := parts[0].values[name].Shape
	out := make([]float32, parts[0].values[name].Len())
	for k := range out {
		sum, first := 0.0, true
		for _, p := range parts {
			if p.areas[i] == 0 {
				continue
			}
			x := float64(p.values[name].Data.([]float32)[k])
			if s.center != nil {
				away := at(p.values[s.center.value.Name], k) - at(center, k)
				square := away * away
				if s.center.share != nil {
					square *= at(p.values[s.center.share.node.Outputs[0].Name], k)
				}
				if s.sum {
					square *= all
				}
				x += square
			}
			if s.mean {
				x *= p.areas[i] / all
			}
			if first {
				sum, first = x, false
			} else {
				sum = s.add(sum, x)
			}
		}
		out[k] = float32(sum)
	}
	t, err := runtime.Of(shape, out)
	if err != nil {
		panic(err) // the shape is that of a tensor of this length
	}
	return t
}

// at returns element k of a tensor that may have one for all.
func at(t *runtime.Tensor, k int) float64 {
	d := t.Data.([]float32)
	return float64(d[k%len(d)])
}

// evaluateWhole computes a value that depends on statistics alone from those in
// values, where it notes it.
func (a *analysis) evaluateWhole(v *onnx.Value, values map[string]*runtime.Tensor) (*runtime.Tensor, error) {
	if t := values[v.Name]; t != nil {
		return t, nil
	}
	if t := a.constant(v); t != nil {
		return runtime.FromONNX(t)
	}
	n := v.Producer
	if n == nil || a.of(v).kind == field {
		return nil, fmt.Errorf("value %q is no statistic", v.Name)
	}
	inputs := make([]*runtime.Tensor, len(n.Inputs))
	for i, in := range n.Inputs {
		if in == nil {
			continue
		}
		var err error
		if inputs[i], err = a.evaluateWhole(in, values); err != nil {
			return nil, err
		}
	}
	out, err := runtime.Eval(a.ctx, n, a.opset, inputs)
	if err != nil {
		return nil, err
	}
	for i, o := range n.Outputs {
		if o != nil && i < len(out) {
			values[o.Name] = out[i]
		}
	}
	return values[v.Name], nil
}
