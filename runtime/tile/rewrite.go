package tile

import (
	"fmt"
	"math"
	"strconv"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// program is a network rewritten for the tiles of one picture. Besides the tile it
// takes, where it has them: the statistics of earlier levels (named as in the
// network), for each Resize its window, and for each statistic of its own the part
// of the tile that counts.
type program struct {
	*runtime.Program
	own     []*statistic  // that it computes
	windows []*onnx.Node  // Resize nodes, of the analysis
	watched []*onnx.Value // centers among its outputs
}

const (
	windowName = "tile.window."
	startName  = "tile.start."
	endName    = "tile.end."
	timesName  = "tile.times."
)

// rewrite makes the program that computes the statistics of the levels (from, to]
// or, if to is above all, the picture.
func (a *analysis) rewrite(base *onnx.Model, from, to int, o runtime.Options) (*program, error) {
	m := base.Clone()
	m.SetOpset(runtime.Domain, 1)
	g := m.Graph
	p := &program{}
	var outputs []*onnx.Value
	for i, n := range a.graph.Nodes {
		here := g.Nodes[i] // clones keep the order
		if err := a.fix(g, n, here, &p.windows); err != nil {
			return nil, fmt.Errorf("node %s: %w", n, err)
		}
	}
	for _, s := range a.statistics {
		name := s.node.Outputs[0].Name
		v := g.Value(name)
		switch {
		case s.level <= from:
			v.Rename(g.UniqueName(name + "_own"))
			v.ReplaceUses(g.AddInput(name, v.Type))
		case s.level <= to && to <= a.depth:
			p.own = append(p.own, s)
			a.cut(g, s, v.Producer, len(p.own)-1)
			outputs = append(outputs, g.Value(name))
			if s.center != nil {
				p.watched = append(p.watched, s.center.value)
				outputs = append(outputs, g.Value(s.center.value.Name))
			}
		}
	}
	if to <= a.depth {
		g.Outputs = nil
		for _, v := range outputs {
			if !v.IsOutput() {
				g.AddOutput(v)
			}
		}
	}
	var err error
	p.Program, err = runtime.Compile(m, o)
	return p, err
}

// cut makes a statistic count the core of the tile only. A sum becomes the one that
// the picture would have if all of it were like the core.
func (a *analysis) cut(g *onnx.Graph, s *statistic, n *onnx.Node, number int) {
	two := onnx.Type{Elem: onnx.Int64, Shape: onnx.ShapeOf(2)}
	start := g.AddInput(startName+strconv.Itoa(number), two)
	end := g.AddInput(endName+strconv.Itoa(number), two)
	axes := g.AddInitializer("tile.axes", onnx.Int64s(2, 3))
	core := g.NewNode("Slice", []*onnx.Value{n.Inputs[0], start, end, axes}, []string{g.UniqueName(n.Inputs[0].Name + "_core")})
	g.InsertBefore(n, core)
	n.SetInput(0, core.Outputs[0])
	if !s.sum {
		return
	}
	sum := n.Outputs[0]
	name, uses := sum.Name, sum.Uses()
	sum.Rename(g.UniqueName(name + "_core"))
	times := g.AddInput(timesName+strconv.Itoa(number), onnx.Type{Elem: onnx.Float, Shape: onnx.ShapeOf(1)})
	scaled := g.NewNode("Mul", []*onnx.Value{sum, times}, []string{name})
	scaled.Outputs[0].Type = sum.Type
	g.Append(scaled) // compiling sorts
	for _, u := range uses {
		u.Node.SetInput(u.Index, scaled.Outputs[0])
	}
}

// fix makes a node compute in a tile what it computes in the picture: numbers that
// follow from the size are those of the picture, here is the node in g, n the same
// in the analysis.
func (a *analysis) fix(g *onnx.Graph, n, here *onnx.Node, windows *[]*onnx.Node) error {
	if len(here.Outputs) == 0 || here.Outputs[0] == nil || a.of(n.Outputs[0]).kind == number {
		return nil
	}
	for i, v := range n.Inputs {
		if v == nil || v.Const != nil || a.of(v).kind != number {
			continue
		}
		if t := a.known[v]; t != nil {
			here.SetInput(i, g.AddInitializer(v.Name+"_size", t.Clone()))
		}
	}
	if _, ok := a.reach[n]; !ok {
		return nil
	}
	switch {
	case n.Is("Resize", "Upsample"):
		*windows = append(*windows, n)
		return a.window(g, here, len(*windows)-1)
	case n.Is("Slice"):
		_, cut, err := bounds(a, n)
		if err != nil {
			return err
		}
		ends, axes := a.ints(n, "ends", 2), a.ints(n, "axes", 3)
		list := make([]int64, len(ends))
		for i, end := range ends {
			list[i] = int64(end)
			at := i
			if axes != nil {
				at = (axes[i] + 4) % 4
			}
			if at < 2 {
				continue
			}
			if list[i] = int64(-cut[at-2]); cut[at-2] == 0 {
				list[i] = math.MaxInt64
			}
		}
		if a.opset < 10 {
			here.SetAttr("ends", list)
		} else {
			t := onnx.Int64s(list...)
			here.SetInput(2, g.AddInitializer(here.Outputs[0].Name+"_ends", t))
			if in := here.Input(1); in.Type.Elem == onnx.Int32 {
				return fmt.Errorf("bounds of type int32")
			}
		}
	}
	return nil
}

// window makes a Resize one of a part of its input.
func (a *analysis) window(g *onnx.Graph, n *onnx.Node, number int) error {
	scales, sizes := n.Input(2), n.Input(3)
	if a.opset < 11 || n.Is("Upsample") {
		scales, sizes = n.Input(1), nil
		if list := n.Floats("scales"); list != nil {
			scales = g.AddInitializer(n.Outputs[0].Name+"_scales", onnx.Floats([]int64{int64(len(list))}, list...))
			n.RemoveAttr("scales")
		}
		n.SetAttr("coordinate_transformation_mode", "asymmetric")
		n.SetAttr("nearest_mode", "floor")
		if n.Str("mode", "nearest") == "bilinear" {
			n.SetAttr("mode", "linear")
		}
	}
	n.Op, n.Domain = runtime.ResizeWindow, runtime.Domain
	window := g.AddInput(windowName+strconv.Itoa(number), onnx.Type{Elem: onnx.Int64, Shape: onnx.ShapeOf(2, 4)})
	for i, v := range []*onnx.Value{n.Inputs[0], nil, scales, sizes, window} {
		n.SetInput(i, v)
	}
	return nil
}
