package passes

import (
	"container/heap"
	"context"
	"fmt"
	"slices"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Bit-widths that a budget is spent on.
const (
	leastBits = 2
	mostBits  = quant.MaxBits
)

// NoiseModel predicts the error at the network's output, by bit-width, of every
// part of a plan: within a tensor its channels by the closed form, between tensors
// by what was measured.
type NoiseModel struct {
	activations [][]channelNoise // of each tensor's channels
	elements    []float64        // of a channel of each tensor
	weights     []channelNoise   // of each convolution
	weightSizes []float64
}

// Predict joins closed form and measurement. The closed form is filled into s,
// whose losses are measured already.
func Predict(ctx context.Context, g *onnx.Graph, p *Plan, profile *calib.Profile, s *Sensitivity, threads int) (*NoiseModel, error) {
	w := kernels.NewWorkers(threads)
	m := &NoiseModel{}
	for i := range p.Activations {
		a, part := &p.Activations[i], &s.Activations[i]
		noise, err := a.noise(ctx, g, profile, w)
		if err != nil {
			return nil, err
		}
		part.Channels, part.Noise, part.Elements = nil, 0, 0
		for c := range noise {
			part.Channels = append(part.Channels, noise[c][s.Bits])
			part.Noise += noise[c][s.Bits]
			part.Elements += profile.Tensors[a.Tensor].Channels[c].All.Count
		}
		if part.Noise > 0 {
			for c := range noise {
				for b := range noise[c] {
					noise[c][b] *= part.Loss / part.Noise
				}
			}
		}
		m.activations = append(m.activations, noise)
		m.elements = append(m.elements, float64(part.Elements)/float64(max(len(noise), 1)))
	}
	for i, w := range p.Weights {
		part := &s.Weights[i]
		size, energy := int64(0), 0.0
		for _, n := range g.Nodes {
			if n.Label() == w.Node && quantizable(n) {
				data, err := n.Inputs[1].Const.Float32s()
				if err != nil {
					return nil, err
				}
				size = int64(len(data))
				for _, v := range data {
					energy += float64(v) * float64(v)
				}
			}
		}
		part.Elements, part.Noise = size, energy*normalNoise[s.Bits]
		noise := normalNoise
		for b := range noise {
			noise[b] *= part.Loss / normalNoise[s.Bits]
		}
		m.weights = append(m.weights, noise)
		m.weightSizes = append(m.weightSizes, float64(size))
	}
	return m, nil
}

// Spend returns the plan with bits distributed such that the average over the
// values of all tensors is at most activations bits, and that over all weights
// at most weights bits, each channel (each convolution's weights) getting the
// next bit where it lowers the predicted error most for what it costs. 0 leaves
// a part of the plan as it is.
func (m *NoiseModel) Spend(p *Plan, profile *calib.Profile, activations, weights float64) (*Plan, error) {
	mixed := *p
	mixed.Activations, mixed.Weights = slices.Clone(p.Activations), slices.Clone(p.Weights)
	if activations > 0 {
		var units []unit
		for i, channels := range m.activations {
			for c := range channels {
				units = append(units, unit{&channels[c], m.elements[i]})
			}
		}
		bits := distribute(units, activations)
		for i := range mixed.Activations {
			a := &mixed.Activations[i]
			n := len(m.activations[i])
			a.ChannelBits, bits = slices.Clone(bits[:n]), bits[n:]
			a.Bits, a.ReLUChannels = slices.Max(a.ChannelBits), nil
			if slices.Min(a.ChannelBits) == a.Bits {
				a.ChannelBits = nil
			}
			if err := a.calibrate(profile, false); err != nil {
				return nil, err
			}
		}
	}
	if weights > 0 {
		var units []unit
		for i := range m.weights {
			units = append(units, unit{&m.weights[i], m.weightSizes[i]})
		}
		for i, b := range distribute(units, weights) {
			mixed.Weights[i].Bits = b
		}
	}
	return &mixed, nil
}

// unit is what gets a bit-width of its own.
type unit struct {
	noise *channelNoise
	cost  float64 // of one bit
}

// distribute gives every unit the least bits, then single bits by marginal gain
// until the average is reached. Equal gains go to the first unit.
func distribute(units []unit, average float64) []int {
	bits := slices.Repeat([]int{leastBits}, len(units))
	total := 0.0
	for _, u := range units {
		total += u.cost
	}
	left := total * (average - leastBits)
	q := &gains{}
	for i, u := range units {
		q.offer(i, u, leastBits)
	}
	for q.Len() > 0 {
		next := heap.Pop(q).(gain)
		u := units[next.unit]
		if u.cost > left+total*1e-12 {
			continue // too big for what is left; a smaller one may fit
		}
		left -= u.cost
		bits[next.unit]++
		q.offer(next.unit, u, bits[next.unit])
	}
	return bits
}

type gain struct {
	unit  int
	value float64 // error less for each bit spent
}

// gains is a heap, the largest gain first.
type gains []gain

func (q *gains) offer(i int, u unit, bits int) {
	if bits < mostBits && u.cost > 0 {
		heap.Push(q, gain{i, (u.noise[bits] - u.noise[bits+1]) / u.cost})
	}
}

func (q gains) Len() int { return len(q) }
func (q gains) Less(i, j int) bool {
	return q[i].value > q[j].value || q[i].value == q[j].value && q[i].unit < q[j].unit
}
func (q gains) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *gains) Push(x any)   { *q = append(*q, x.(gain)) }
func (q *gains) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// CheckAverage returns an error for an average that no distribution reaches.
func CheckAverage(bits float64) error {
	if !(bits >= leastBits && bits <= mostBits) {
		return fmt.Errorf("%g bits on average: want %d to %d", bits, leastBits, mostBits)
	}
	return nil
}

// AverageBits returns the average over the values of the planned tensors and over
// the planned weights, in the units of Spend.
func (m *NoiseModel) AverageBits(p *Plan) (activations, weights float64) {
	sum, total := 0.0, 0.0
	for i := range p.Activations {
		for c := range m.activations[i] {
			sum += float64(p.Activations[i].bitsOf(c)) * m.elements[i]
			total += m.elements[i]
		}
	}
	activations = sum / max(total, 1)
	sum, total = 0, 0
	for i, w := range p.Weights {
		sum += float64(w.Bits) * m.weightSizes[i]
		total += m.weightSizes[i]
	}
	return activations, sum / max(total, 1)
}
