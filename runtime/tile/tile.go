// Package tile runs a network on pictures of any size in bounded memory: part by
// part, so that the result is that of the picture in one piece.
//
// Which input pixels a part of the output is made of follows from the graph
// (rules.go). Padding is only where the picture ends, because the tiles there end
// with it. Statistics of the whole picture (global pooling, reductions over height
// and width) are computed first, tile by tile, and merged; all tiles then use the
// same. Where statistics depend on each other over few levels, each level has a
// pass of its own and they are exact. Where they depend over many, as in networks
// of dynamic DAQ, one pass gathers all: each tile goes on with the statistics of
// its own part, those of all parts are merged. These are close to the picture's,
// and as they are the same for every tile there are no seams.
package tile

import (
	"context"
	"fmt"
	"math"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// exactLevels is up to how many levels of statistics have passes of their own. On
// average such a pass is half of the network.
const exactLevels = 6

// granularity is what the origins of tiles are multiples of, in elements of the
// coarsest map: the 4x4 outputs of Winograd's algorithm in integers, and of 5x5 in
// float, then lie as in the whole picture. The 6x6 ones of 3x3 in float do not, which
// changes how they are rounded.
const granularity = 8

// Network is a network for pictures in tiles. It is immutable.
type Network struct {
	base    *onnx.Model
	options runtime.Options
}

// New prepares a network with one input [N,C,H,W] of free height and width and one
// output. Options.Observe must be empty.
func New(m *onnx.Model, o runtime.Options) (*Network, error) {
	base := m.Clone()
	if err := onnx.Inline(base); err != nil {
		return nil, err
	}
	if err := onnx.Infer(base); err != nil {
		return nil, err
	}
	g := base.Graph
	if len(g.Inputs) != 1 || len(g.Outputs) != 1 || len(g.Inputs[0].Type.Shape) != 4 || !g.Inputs[0].Type.Shape[1].IsKnown() {
		return nil, fmt.Errorf("a network in tiles has one input [N,C,H,W] and one output")
	}
	runtime.Pointwise(g, func(*onnx.Value) bool { return false })
	joinReductions(base)
	splitNormalization(base)
	if err := onnx.Infer(base); err != nil {
		return nil, err
	}
	return &Network{base, o}, nil
}

// Levels returns how many statistics of the whole picture depend on each other, one
// after the other: 0 for a network that tiles in a single pass. An error says why it
// has no tiles. height and width are those of any picture.
func (n *Network) Levels(ctx context.Context, height, width int) (int, error) {
	a, err := analyse(ctx, n.base, height, width)
	if err != nil {
		return 0, fmt.Errorf("the network cannot be computed in tiles: %w", err)
	}
	return a.depth, nil
}

// Rect is a part of a picture.
type Rect struct{ Y, X, Height, Width int }

// Job is a network for the tiles of pictures of one size.
type Job struct {
	Scale [2]int // of the output in height and width
	Exact bool   // statistics, if there are any, are those of one piece
	Tiles []Rect // of the input, row by row: each pixel is in one of them

	network       *Network
	analysis      *analysis
	height, width int
	passes        [][2]int   // levels (from, to] of each, the last for the picture
	programs      []*program // of each
}

// Plan prepares the network for a picture. The tensors of a run then take at most
// about limit bytes; rows and columns, if not 0, bound the tiles besides.
func (n *Network) Plan(ctx context.Context, height, width int, limit int64, rows, columns int) (*Job, error) {
	a, err := analyse(ctx, n.base, height, width)
	if err != nil {
		return nil, fmt.Errorf("the network cannot be computed in tiles: %w", err)
	}
	j := &Job{network: n, analysis: a, height: height, width: width, Exact: a.depth <= exactLevels}
	for axis, s := range a.of(a.graph.Outputs[0]).scale {
		if s.den != 1 {
			return nil, fmt.Errorf("the output is no multiple of the input")
		}
		j.Scale[axis] = s.num
	}
	for from := 0; from < a.depth; {
		to := from + 1
		if !j.Exact {
			to = a.depth
		}
		j.passes = append(j.passes, [2]int{from, to})
		from = to
	}
	j.passes = append(j.passes, [2]int{a.depth, a.depth + 1})
	j.programs = make([]*program, len(j.passes))
	if err := j.divide(ctx, limit, [2]int{rows, columns}); err != nil {
		return nil, err
	}
	return j, nil
}

// Passes is how often the picture is read: once for each pass over the tiles.
func (j *Job) Passes() int { return len(j.passes) }

func (j *Job) program(pass int) (*program, error) {
	if j.programs[pass] == nil {
		p, err := j.analysis.rewrite(j.network.base, j.passes[pass][0], j.passes[pass][1], j.network.options)
		if err != nil {
			return nil, err
		}
		j.programs[pass] = p
	}
	return j.programs[pass], nil
}

// divide chooses the tiles: as large as memory allows, and about square.
func (j *Job) divide(ctx context.Context, limit int64, most [2]int) error {
	align := [2]int{j.analysis.align[0] * granularity, j.analysis.align[1] * granularity}
	perPixel, err := j.bytesPerPixel(ctx, align)
	if err != nil {
		return err
	}
	size := [2]int{j.height, j.width}
	var halo [2]int // of both sides
	for axis := range halo {
		middle := size[axis] / 2 / align[axis] * align[axis]
		core := span{middle, min(middle+align[axis], size[axis])}
		r := j.region([2]span{core, core}, len(j.passes)-1)[axis]
		halo[axis] = r.hi - r.lo - (core.hi - core.lo)
	}
	pixels := float64(limit) / perPixel
	var tile [2]int
	edge := math.Sqrt(pixels)
	for axis := range tile { // a picture that is narrower leaves more for the other axis
		other := 1 - axis
		reach := edge
		if whole := float64(size[other]); whole < edge {
			reach = pixels / whole
		}
		tile[axis] = (int(min(reach, float64(size[axis]+halo[axis]))) - halo[axis]) / align[axis] * align[axis]
		if most[axis] > 0 {
			tile[axis] = min(tile[axis], max(most[axis]/align[axis], 1)*align[axis])
		}
	}
	if least := float64((halo[0] + align[0]) * (halo[1] + align[1])); tile[0] <= 0 || tile[1] <= 0 {
		return fmt.Errorf("%d MiB of memory are too little for the smallest tile, which takes %d MiB", limit>>20, int64(least*perPixel)>>20+1)
	}
	for y := 0; y < j.height; y += tile[0] {
		for x := 0; x < j.width; x += tile[1] {
			j.Tiles = append(j.Tiles, Rect{y, x, min(tile[0], j.height-y), min(tile[1], j.width-x)})
		}
	}
	return nil
}

// bytesPerPixel measures how much memory a small tile takes, in the pass that
// takes most: the last.
func (j *Job) bytesPerPixel(ctx context.Context, align [2]int) (float64, error) {
	p, err := j.program(len(j.passes) - 1)
	if err != nil {
		return 0, err
	}
	const trial = 96
	var core [2]span
	for axis, n := range [2]int{j.height, j.width} {
		core[axis] = span{0, min(n, ceilDiv(trial, align[axis])*align[axis])}
	}
	r := j.region(core, len(j.passes)-1)
	inputs, err := j.inputs(p, r, core)
	if err != nil {
		return 0, err
	}
	in := j.analysis.graph.Inputs[0]
	if inputs[in.Name], err = runtime.New(onnx.Float, 1, int(in.Type.Shape[1].Value), r[0].hi-r[0].lo, r[1].hi-r[1].lo); err != nil {
		return 0, err
	}
	for _, s := range j.analysis.statistics {
		shape, ok := s.node.Outputs[0].Type.Shape.Ints()
		if !ok {
			return 0, fmt.Errorf("node %s: the shape of the statistic is not known", s.node)
		}
		sizes := make([]int, len(shape))
		for i, d := range shape {
			sizes[i] = int(d)
		}
		if inputs[s.node.Outputs[0].Name], err = runtime.New(onnx.Float, sizes...); err != nil {
			return 0, err
		}
	}
	if _, err := p.Run(ctx, inputs, nil); err != nil {
		return 0, err
	}
	return float64(p.PeakBytes()) / float64((r[0].hi-r[0].lo)*(r[1].hi-r[1].lo)), nil
}

// region returns the part of the picture that a pass reads for a core: what it is
// made of, with aligned borders.
func (j *Job) region(core [2]span, pass int) [2]span {
	a, d := j.analysis, demand{}
	if pass == len(j.passes)-1 {
		out := a.graph.Outputs[0]
		for axis := range 2 {
			d.add(out, axis, j.coreOf(a.of(out), core, axis))
		}
	} else {
		for _, s := range a.statistics {
			if s.level > j.passes[pass][0] && s.level <= j.passes[pass][1] {
				x := s.node.Inputs[0]
				for axis := range 2 {
					d.add(x, axis, j.coreOf(a.of(x), core, axis))
				}
			}
		}
	}
	a.trace(d)
	r := d[a.graph.Inputs[0]]
	for axis, n := range [2]int{j.height, j.width} {
		m := a.align[axis] * granularity
		r[axis] = span{r[axis].lo / m * m, min(ceilDiv(r[axis].hi, m)*m, n)}
	}
	return r
}

// coreOf returns the part of a map that a core of the picture stands for: every
// element is in one.
func (j *Job) coreOf(x *value, core [2]span, axis int) span {
	s, n := x.scale[axis], [2]int{j.height, j.width}[axis]
	out := span{s.of(core[axis].lo), x.size[axis]}
	if core[axis].hi < n {
		out.hi = min(s.of(core[axis].hi), x.size[axis])
	}
	out.lo = min(out.lo, out.hi)
	return out
}

// inputs returns what a program takes besides tile and statistics.
func (j *Job) inputs(p *program, region, core [2]span) (map[string]*runtime.Tensor, error) {
	a := j.analysis
	inputs := map[string]*runtime.Tensor{}
	var err error
	add := func(name string, shape []int, v ...int64) {
		if t, e := runtime.Of(shape, v); e != nil {
			err = e
		} else {
			inputs[name] = t
		}
	}
	for i, n := range p.windows {
		in, out := a.of(n.Inputs[0]), a.of(n.Outputs[0])
		var v []int64
		for axis, size := range [2]int{j.height, j.width} {
			first := out.scale[axis].of(region[axis].lo)
			end := out.size[axis]
			if region[axis].hi < size {
				end = out.scale[axis].of(region[axis].hi)
			}
			v = append(v, int64(in.size[axis]), int64(in.scale[axis].of(region[axis].lo)), int64(first), int64(end-first))
		}
		add(fmt.Sprint(windowName, i), []int{2, 4}, v...)
	}
	for i, s := range p.own {
		x := a.of(s.node.Inputs[0])
		times := float64(x.size[0]) * float64(x.size[1])
		var start, end [2]int64
		for axis := range 2 {
			c, origin := j.coreOf(x, core, axis), x.scale[axis].of(region[axis].lo)
			start[axis], end[axis] = int64(c.lo-origin), int64(c.hi-origin)
			times /= float64(max(c.hi-c.lo, 1))
		}
		if s.sum {
			inputs[fmt.Sprint(timesName, i)], _ = runtime.Of([]int{1}, []float32{float32(times)})
		}
		add(fmt.Sprint(startName, i), []int{2}, start[:]...)
		add(fmt.Sprint(endName, i), []int{2}, end[:]...)
	}
	return inputs, err
}

// Run computes the picture. read fills dst, [C,Height,Width], with a part of the
// input; it is called for overlapping parts, and again in every pass. write gets
// the output for each tile, in order, as planes [C,Scale*Height,Scale*Width] of
// which it must not keep anything. progress, which may be nil, is told how many
// tiles of all passes are done.
func (j *Job) Run(ctx context.Context, read func(r Rect, dst []float32) error, write func(tile Rect, planes []float32) error, progress func(done, total int)) error {
	a := j.analysis
	merged := map[string]*runtime.Tensor{}
	channels := int(a.graph.Inputs[0].Type.Shape[1].Value)
	for pass := range j.passes {
		p, err := j.program(pass)
		if err != nil {
			return err
		}
		var parts []part
		for i, t := range j.Tiles {
			if progress != nil {
				progress(pass*len(j.Tiles)+i, len(j.passes)*len(j.Tiles))
			}
			core := [2]span{{t.Y, t.Y + t.Height}, {t.X, t.X + t.Width}}
			region := j.region(core, pass)
			inputs, err := j.inputs(p, region, core)
			if err != nil {
				return err
			}
			r := Rect{region[0].lo, region[1].lo, region[0].hi - region[0].lo, region[1].hi - region[1].lo}
			x, err := runtime.New(onnx.Float, 1, channels, r.Height, r.Width)
			if err != nil {
				return err
			}
			if err := read(r, x.Data.([]float32)); err != nil {
				return err
			}
			inputs[a.graph.Inputs[0].Name] = x
			for _, s := range a.statistics {
				if name := s.node.Outputs[0].Name; s.level <= j.passes[pass][0] {
					inputs[name] = merged[name]
				}
			}
			out, err := p.Run(ctx, inputs, nil)
			if err != nil {
				return fmt.Errorf("tile at row %d, column %d: %w", t.Y, t.X, err)
			}
			if pass < len(j.passes)-1 {
				parts = append(parts, j.part(p, out, core))
				continue
			}
			planes, err := j.core(out[a.graph.Outputs[0].Name], region, core)
			if err != nil {
				return err
			}
			if err := write(t, planes); err != nil {
				return err
			}
		}
		if err := j.merge(p, parts, merged); err != nil {
			return err
		}
		j.programs[pass] = nil // its memory is for the next
	}
	if progress != nil {
		progress(len(j.passes)*len(j.Tiles), len(j.passes)*len(j.Tiles))
	}
	return nil
}

func (j *Job) part(p *program, values map[string]*runtime.Tensor, core [2]span) part {
	q := part{values: values}
	for _, s := range p.own {
		x, area := j.analysis.of(s.node.Inputs[0]), 1.0
		for axis := range 2 {
			c := j.coreOf(x, core, axis)
			area *= float64(c.hi - c.lo)
		}
		q.areas = append(q.areas, area)
	}
	return q
}

func (j *Job) merge(p *program, parts []part, merged map[string]*runtime.Tensor) error {
	known := map[string]*runtime.Tensor{}
	for name, t := range merged {
		known[name] = t
	}
	for i, s := range p.own { // in the order of the graph: centers come first
		var center *runtime.Tensor
		if s.center != nil {
			var err error
			if center, err = j.analysis.evaluateWhole(s.center.value, known); err != nil {
				return err
			}
		}
		name := s.node.Outputs[0].Name
		merged[name] = s.merge(i, parts, center)
		known[name] = merged[name]
	}
	return nil
}

// core cuts the output of a tile to what is asked of it.
func (j *Job) core(out *runtime.Tensor, region, core [2]span) ([]float32, error) {
	data, err := out.Float32s()
	if err != nil || len(out.Shape) != 4 {
		return nil, fmt.Errorf("output %q is %s: want float [1,C,H,W]", j.analysis.graph.Outputs[0].Name, out)
	}
	x := j.analysis.of(j.analysis.graph.Outputs[0])
	var from, n [2]int
	for axis := range 2 {
		c := j.coreOf(x, core, axis)
		from[axis], n[axis] = c.lo-x.scale[axis].of(region[axis].lo), c.hi-c.lo
		if from[axis] < 0 || from[axis]+n[axis] > out.Shape[2+axis] {
			return nil, fmt.Errorf("output %q is %s, too small for its tile", j.analysis.graph.Outputs[0].Name, out)
		}
	}
	h, w := out.Shape[2], out.Shape[3]
	planes := make([]float32, 0, out.Shape[1]*n[0]*n[1])
	for c := range out.Shape[1] {
		for y := range n[0] {
			planes = append(planes, data[(c*h+from[0]+y)*w+from[1]:][:n[1]]...)
		}
	}
	return planes, nil
}
