package runtime

import (
	"fmt"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

func init() {
	registerBlocked(Domain+".Moments", 1, channelMoments)
}

// partKey names the moments of one value over what is above floor.
type partKey struct {
	x     *onnx.Value
	floor string
}

// moments returns mean and variance of each channel of x, and the nodes that make
// them and are not there yet: one Moments, or one for each part of a Concat.
func (b *builder) moments(x *onnx.Value, floor []float32, parts map[partKey]statistic) (mean, variance *onnx.Value, added []*onnx.Node) {
	key := partKey{x, fmt.Sprint(floor)}
	if s, ok := parts[key]; ok {
		return s.mean, s.variance, nil
	}
	typ := onnx.Type{Elem: onnx.Float, Shape: onnx.Shape{x.Type.Shape[0], x.Type.Shape[1], onnx.Known(1), onnx.Known(1)}}
	names := []string{b.graph.UniqueName(x.Name + "_mean"), b.graph.UniqueName(x.Name + "_variance"), b.graph.UniqueName(x.Name + "_average")}
	var last []*onnx.Node
	if channels, ok := b.concatenated(x); ok {
		var means, variances []*onnx.Value
		at := 0
		for i, v := range x.Producer.Inputs {
			f := floor
			if len(floor) > 1 {
				f = floor[at:][:channels[i]]
			}
			at += channels[i]
			m, v, more := b.moments(v, f, parts)
			means, variances, added = append(means, m), append(variances, v), append(added, more...)
		}
		axis := onnx.Attr("axis", int64(1))
		last = []*onnx.Node{b.graph.NewNode("Concat", means, names[:1], axis), b.graph.NewNode("Concat", variances, names[1:2], axis)}
		mean, variance = last[0].Outputs[0], last[1].Outputs[0]
	} else {
		n := b.graph.NewNode("Moments", []*onnx.Value{x}, names, onnx.Attr("floor", floor))
		n.Domain = Domain
		if b.floors[x] == nil {
			b.floors[x] = floor
		}
		last = []*onnx.Node{n}
		mean, variance = n.Outputs[0], n.Outputs[1]
		n.Outputs[2].Type = typ
	}
	mean.Type, variance.Type = typ, typ
	parts[key] = statistic{x: x, mean: mean, variance: variance, floor: floor}
	return mean, variance, append(added, last...)
}

// averages replaces those of tensors whose Moments are there, or those of all parts of a
// Concat, and returns the nodes in which these are joined. Nodes that go are put into gone.
func (b *builder) averages(nodes, made []*onnx.Node, pinned map[*onnx.Value]bool, gone map[*onnx.Node]bool) (added []*onnx.Node) {
	of := map[*onnx.Value]*onnx.Value{}
	for _, n := range made {
		if n.Op == "Moments" && of[n.Inputs[0]] == nil {
			of[n.Inputs[0]] = n.Outputs[2]
		}
	}
	for _, n := range nodes {
		if gone[n] || !n.Is("GlobalAveragePool") || n.Graph() != b.graph || pinned[n.Outputs[0]] {
			continue
		}
		if v := b.averageOf(n.Inputs[0], of, &added); v != nil {
			n.Outputs[0].ReplaceUses(v)
			gone[n] = true
		}
	}
	return added
}

// averageOf returns the average of x, nil where it is not known.
func (b *builder) averageOf(x *onnx.Value, of map[*onnx.Value]*onnx.Value, added *[]*onnx.Node) *onnx.Value {
	if of[x] != nil {
		return of[x]
	}
	if _, ok := b.concatenated(x); !ok {
		return nil
	}
	var parts []*onnx.Value
	for _, v := range x.Producer.Inputs {
		if v = b.averageOf(v, of, added); v == nil {
			return nil
		}
		parts = append(parts, v)
	}
	n := b.graph.NewNode("Concat", parts, []string{b.graph.UniqueName(x.Name + "_average")}, onnx.Attr("axis", int64(1)))
	n.Outputs[0].Type = onnx.Type{Elem: onnx.Float, Shape: onnx.Shape{x.Type.Shape[0], x.Type.Shape[1], onnx.Known(1), onnx.Known(1)}}
	*added, of[x] = append(*added, n), n.Outputs[0]
	return n.Outputs[0]
}

// concatenated returns the channels of the parts that x is joined from.
func (b *builder) concatenated(x *onnx.Value) ([]int, bool) {
	if x.Producer == nil || x.Graph() != b.graph {
		return nil, false
	}
	return concatChannels(x.Producer)
}

// tensorMoments are the moments of the channels of a tensor [N,C,H,W] above a floor, one
// for all or one for each.
type tensorMoments struct {
	floor  []float32
	values []kernels.Moments // [N,C]
}

// channelMoments executes daq.runtime.Moments: of X [N,C,H,W] the mean and the variance
// [N,C,1,1] of the values above attribute floor, one for all channels or one for
// each, as the averages over all values, divided by the share of those above, that it
// stands for, and the average over all values. A quantized convolution has summed them already.
func channelMoments(s *site) (kernel, error) {
	floor := slices.Clone(s.Floats("floor"))
	return func(c *call) error {
		in, src, err := c.blocked(0)
		if err != nil {
			return err
		}
		if len(in.Shape) != 4 || len(floor) != 1 && len(floor) != in.Shape[1] {
			return fmt.Errorf("input 0 is %s, want %d channels", in, len(floor))
		}
		n, channels, size := in.Shape[0], in.Shape[1], in.Shape[2]*in.Shape[3]
		sums := in.moments
		if sums == nil || !slices.Equal(sums.floor, floor) {
			sums = &c.moments
			sums.resize(n * channels)
			for image := range n {
				from := src[kernels.BlockedLen(image, channels, size):]
				if err := kernels.ChannelMoments(c.ctx, c.workers, sums.values[image*channels:][:channels], from, size, floor); err != nil {
					return err
				}
			}
		}
		for i := range 3 {
			t, err := c.new(i, onnx.Float, []int{n, channels, 1, 1})
			if err != nil {
				return err
			}
			out := t.Data.([]float32)
			for k := range out {
				mean, variance := sums.values[k].MeanVariance(size)
				out[k] = [...]float32{mean, variance, sums.values[k].Average(size)}[i]
			}
		}
		return nil
	}, nil
}

func (m *tensorMoments) resize(n int) {
	m.values = slices.Grow(m.values[:0], n)[:n]
}
