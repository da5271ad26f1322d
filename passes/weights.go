package passes

import (
	"fmt"
	"slices"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
)

// codedWeights are the codes of one weight tensor, in its element order, with
// what turns them into numbers: code*scale + offset.
type codedWeights struct {
	codes         []uint8
	scale, offset []float32
	shape         []int64 // of scale and offset, to broadcast over the weights
}

// encodeWeights quantizes the weights of a Conv [Out,In/g,kH,kW] or a
// ConvTranspose [In,Out/g,kH,kW] with one scale, or one for each output channel.
func encodeWeights(n *onnx.Node, t *onnx.Tensor, w WeightPlan, rule Rule, rounded *Rounded) (*codedWeights, error) {
	data, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("tensor %q is empty", t.Name)
	}
	if err := checkFinite(data); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	layout := outputChannels(n, t.Shape)
	levels := quant.Levels(w.Bits)
	scales := w.Scales
	switch {
	case rounded != nil:
		scales = rounded.scales
	case len(scales) == 0 && rule == Calibrated:
		scales = make([]float32, layout.channels)
		for c := range scales {
			scales[c] = quant.BestWeightScale(layout.gather(data, c), levels)
		}
	case len(scales) == 0:
		scales = []float32{quant.WeightScale(data, rule.step(w.Bits))}
	}
	if len(scales) != 1 && len(scales) != layout.channels {
		return nil, fmt.Errorf("%d scales for %d output channels: give one, or one for each", len(scales), layout.channels)
	}
	coded := &codedWeights{codes: make([]uint8, len(data)), scale: scales}
	if len(scales) > 1 {
		coded.shape = layout.broadcast(len(t.Shape))
	}
	if rounded != nil {
		coded.codes = rounded.codes
	} else if len(scales) == 1 {
		err = quant.EncodeWeights(coded.codes, data, scales[0], levels)
	} else {
		err = layout.encode(coded.codes, data, scales, levels)
	}
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	for _, s := range scales {
		coded.offset = append(coded.offset, quant.WeightWindow(s, levels).Offset)
	}
	return coded, nil
}

// checkFinite says which weight is NaN or infinite.
func checkFinite(weights []float32) error {
	if i := slices.IndexFunc(weights, func(v float32) bool { return v-v != 0 }); i >= 0 {
		return fmt.Errorf("weight %d is %v: repair the network, or leave the convolution out with --exclude", i, weights[i])
	}
	return nil
}

// channelLayout tells where the weights of an output channel lie: data is
// [outer, channels, inner].
type channelLayout struct{ outer, channels, inner, axis int }

func outputChannels(n *onnx.Node, shape []int64) channelLayout {
	inner := 1
	for _, d := range shape[2:] {
		inner *= int(d)
	}
	if n.Op == "ConvTranspose" {
		// Grouped, the output channels of a group share their scale with those
		// of the other groups: axis 1 counts channels within a group.
		return channelLayout{int(shape[0]), int(shape[1]), inner, 1}
	}
	return channelLayout{1, int(shape[0]), inner * int(shape[1]), 0}
}

func (l channelLayout) broadcast(rank int) []int64 {
	shape := make([]int64, rank)
	for i := range shape {
		shape[i] = 1
	}
	shape[l.axis] = int64(l.channels)
	return shape
}

// rows calls f with the range of each run of weights of channel c.
func (l channelLayout) rows(c int, f func(from, to int)) {
	for o := range l.outer {
		from := (o*l.channels + c) * l.inner
		f(from, from+l.inner)
	}
}

func (l channelLayout) gather(data []float32, c int) []float32 {
	var out []float32
	l.rows(c, func(from, to int) { out = append(out, data[from:to]...) })
	return out
}

func (l channelLayout) encode(codes []uint8, data, scales []float32, levels int) (err error) {
	for c, s := range scales {
		l.rows(c, func(from, to int) {
			if e := quant.EncodeWeights(codes[from:to], data[from:to], s, levels); e != nil && err == nil {
				err = fmt.Errorf("output channel %d: %w", c, e)
			}
		})
	}
	return err
}
