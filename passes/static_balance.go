package passes

import (
	"math"
	"slices"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/onnx"
)

// balance chooses the factors that even out the channels of each quantized tensor,
// so that one scale serves them all. Dividing a channel by more leaves its
// rounding error weighing more in the convolutions that read it, and their largest
// weights larger: both errors are added up, and for each set of tied tensors the
// exponent is taken that makes the sum least.
type balance struct {
	ties   *ties
	place  *placement
	energy func(v *onnx.Value, c int) float64
	ranges map[*onnx.Value][]float64 // largest magnitude of each channel worth representing, of what is not moved
	power  map[*onnx.Value][]float64 // mean square of each channel
	bits   func(conv *onnx.Node) (activations, weights int)
}

// exponents of the share of its range that a channel is divided by: 0 leaves the
// channels as they are, 1 gives all the same range.
var exponents = []float64{0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1}

// weightErrorShare is the error of compensated rounding against rounding to the
// nearest code.
const weightErrorShare = 0.3

// factors returns those of all roots that are not 1.
func (b *balance) factors() map[int]float64 {
	all := map[int]float64{}
	for _, set := range b.sets() {
		relative := b.relativeRanges(set)
		best := math.Inf(1)
		var chosen map[int]float64
		for _, e := range exponents {
			trial := map[int]float64{}
			for root, r := range relative {
				if !b.ties.fixed[root] && r > 0 {
					trial[root] = math.Pow(r, e)
				}
			}
			if cost := b.cost(set, trial); cost < best {
				best, chosen = cost, trial
			}
		}
		for root, f := range chosen {
			all[root] = f
		}
	}
	return all
}

// sets returns the grids by the roots they share, in graph order.
func (b *balance) sets() [][]*grid {
	set := map[int]int{} // of a root
	var sets [][]*grid
	for _, v := range b.place.values {
		g := b.place.grids[v]
		if _, ok := b.ties.base[v]; !ok || b.ranges[v] == nil {
			continue
		}
		to := len(sets)
		sets = append(sets, nil)
		if g.heads[0] == v {
			sets[to] = []*grid{g}
		}
		for c := range int(channelsOf(v)) {
			root := b.ties.root(v, c)
			from, seen := set[root]
			if seen && from != to {
				sets[to] = append(sets[from], sets[to]...)
				for r, s := range set {
					if s == from {
						set[r] = to
					}
				}
				sets[from] = nil
			}
			set[root] = to
		}
	}
	return slices.DeleteFunc(sets, func(s []*grid) bool { return s == nil })
}

// relativeRanges returns for each root the range of its channels as a share of the
// largest on the grid, root mean square over the grids. The fixed ones are 1.
func (b *balance) relativeRanges(set []*grid) map[int]float64 {
	sum, count := map[int]float64{}, map[int]float64{}
	for _, g := range set {
		largest, fixed := 0.0, 0.0
		for _, v := range g.heads {
			for c, r := range b.ranges[v] {
				largest = max(largest, r)
				if b.ties.fixed[b.ties.root(v, c)] {
					fixed = max(fixed, r)
				}
			}
		}
		if fixed > 0 {
			largest = fixed
		}
		if largest == 0 {
			continue
		}
		for _, v := range g.heads {
			for c, r := range b.ranges[v] {
				root := b.ties.root(v, c)
				sum[root] += r / largest * (r / largest)
				count[root]++
			}
		}
	}
	for root, s := range sum {
		// A channel that hardly does anything would have its errors blown up elsewhere.
		sum[root] = max(math.Sqrt(s/count[root]), 1e-3)
	}
	return sum
}

// cost is the error that reaches the outputs of the next convolutions when the
// channels of a set are divided by factors.
func (b *balance) cost(set []*grid, factors map[int]float64) float64 {
	total := 0.0
	of := func(v *onnx.Value, c int) float64 {
		if f, ok := factors[b.ties.root(v, c)]; ok {
			return f
		}
		return 1
	}
	for _, g := range set {
		reach, weighed := 0.0, 0.0
		for _, v := range g.heads {
			for c, r := range b.ranges[v] {
				f := of(v, c)
				reach = max(reach, r/f)
				weighed += b.energy(v, c) * f * f
			}
		}
		levels := math.Exp2(8)
		for _, v := range g.values {
			for _, u := range v.Uses() {
				if b.power[v] != nil && b.place.convs[u.Node] && u.Index == 0 {
					activations, bits := b.bits(u.Node)
					levels = min(levels, math.Exp2(float64(activations)))
					total += weightErrorShare * weightError(u.Node, bits, b.power[v], func(c int) float64 { return of(v, c) })
				}
			}
		}
		step := reach / levels
		total += step * step / 12 * weighed
	}
	return total
}

// weightError is the mean squared error of all outputs of a convolution from
// rounding its weights to the nearest of 2^bits-1 symmetric codes.
func weightError(n *onnx.Node, bits int, power []float64, factor func(c int) float64) float64 {
	float := n.Inputs[1].Const
	data, _ := float.Float32s()
	m := matrixOf(n, float.Shape)
	half := math.Exp2(float64(bits-1)) - 1
	row, factors := make([]float32, m.inputs), make([]float64, m.inputs)
	total := 0.0
	for g := range m.groups {
		signal := 0.0
		for i := range m.inputs {
			c := (g*m.inputs + i) / m.taps
			if i%m.taps == 0 {
				factors[i] = factor(c)
			} else {
				factors[i] = factors[i-1]
			}
			signal += power[c] / (factors[i] * factors[i])
		}
		for o := range m.outputs {
			m.row(data, g, o, row)
			largest := 0.0
			for i, w := range row {
				largest = max(largest, math.Abs(float64(w))*factors[i])
			}
			step := largest / max(half, 1)
			total += step * step / 12 * signal
		}
	}
	return total
}

// energies returns, for each channel of each value, how much an error of it counts:
// the squared weights of the convolutions that it reaches. Types must be inferred.
func energies(g *onnx.Graph, t *ties) map[*onnx.Value][]float64 {
	energy := map[*onnx.Value][]float64{}
	for v := range t.base {
		energy[v] = make([]float64, channelsOf(v))
	}
	one := func(v *onnx.Value) {
		for c := range energy[v] {
			energy[v][c]++
		}
	}
	for _, v := range g.Outputs {
		one(v)
	}
	for _, n := range slices.Backward(g.Nodes) {
		out := n.Outputs[0]
		switch {
		case takesFactors(n):
			data, _ := n.Inputs[1].Const.Float32s()
			m := matrixOf(n, n.Inputs[1].Const.Shape)
			for g := range m.groups {
				for o := range m.outputs {
					for i := range m.inputs {
						w := float64(data[m.index(g, o, i)])
						if e := energy[n.Inputs[0]]; e != nil {
							e[(g*m.inputs+i)/m.taps] += w * w
						}
					}
				}
			}
			continue
		case n.Is("Concat", "Split") && t.joins(n):
			parts, whole := n.Inputs, out
			if n.Op == "Split" {
				parts, whole = n.Outputs, n.Inputs[0]
			}
			at := 0
			for _, p := range parts {
				for c := range energy[p] {
					if n.Op == "Split" {
						energy[whole][at+c] += energy[p][c]
					} else {
						energy[p][c] += energy[whole][at+c]
					}
				}
				at += len(energy[p])
			}
			continue
		case n.Is("DepthToSpace") && t.joins(n):
			in := n.Inputs[0]
			for c := range energy[in] {
				energy[in][c] += energy[out][shuffled(n, c)]
			}
			continue
		}
		for _, in := range n.Inputs {
			if in == nil || energy[in] == nil {
				continue
			}
			if len(energy[out]) != len(energy[in]) {
				one(in)
				continue
			}
			for c, e := range energy[out] {
				energy[in][c] += e
			}
		}
	}
	return energy
}

// joins reports whether a Concat, Split or DepthToSpace joins known channels.
func (t *ties) joins(n *onnx.Node) bool {
	for _, v := range append(slices.Clone(n.Outputs), n.Inputs[0]) {
		if _, ok := t.base[v]; !ok {
			return false
		}
	}
	for _, v := range n.Inputs {
		if _, ok := t.base[v]; !ok && n.Op == "Concat" {
			return false
		}
	}
	axis := n.Int("axis", 0)
	return n.Op == "DepthToSpace" || axis == 1 || axis == -3
}

// powers returns the mean square of each channel.
func powers(s []calib.ChannelStats) []float64 {
	p := make([]float64, len(s))
	for c := range s {
		mean, std := s[c].All.Mean(), s[c].All.Std()
		p[c] = mean*mean + std*std
	}
	return p
}
