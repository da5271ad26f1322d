package passes

import (
	"context"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Sensitivity says how much the output of a network suffers from quantizing a
// part of it, by two estimates: in closed form, from the statistics of a
// channel and the weights that read it, and measured, by running the network with
// this part alone quantized.
type Sensitivity struct {
	Format      string            `json:"format"`
	Model       string            `json:"model,omitempty"` // SHA-256 of the float file
	Bits        int               `json:"bits"`            // at which parts were quantized
	Images      int               `json:"images"`          // pieces of pictures that the effect was measured on
	Activations []PartSensitivity `json:"activations"`
	Weights     []PartSensitivity `json:"weights"`
}

// SensitivityFormat is the Format this version writes.
const SensitivityFormat = "daq sensitivity 1"

// PartSensitivity is about one tensor of activations, or the weights of one
// convolution.
type PartSensitivity struct {
	Name     string    `json:"name"`
	Elements int64     `json:"elements"`           // weights, or values of a tensor seen in calibration
	Noise    float64   `json:"noise"`              // closed form: error power it adds at the outputs of the convolutions that read it
	Channels []float64 `json:"channels,omitempty"` // the same for each channel of a tensor
	Loss     float64   `json:"loss"`               // measured: mean squared error of the network's output, white = 1
}

// PSNR returns the loss in dB: of the output against that of the float network.
func (p PartSensitivity) PSNR() float64 { return -10 * math.Log10(max(p.Loss, 1e-20)) }

// Agreement is the rank correlation (Spearman) of the closed form with the
// measurement over the tensors of activations: 1 means that both sort them alike,
// 0 that one says nothing about the other. NaN for fewer than three.
func (s *Sensitivity) Agreement() float64 {
	if len(s.Activations) < 3 {
		return math.NaN()
	}
	var noise, loss []float64
	for _, p := range s.Activations {
		noise, loss = append(noise, p.Noise), append(loss, p.Loss)
	}
	return stat.Correlation(ranks(noise), ranks(loss), nil)
}

func ranks(v []float64) []float64 {
	order := make([]int, len(v))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case v[a] < v[b]:
			return -1
		case v[a] > v[b]:
			return 1
		}
		return 0
	})
	r := make([]float64, len(v))
	for i, o := range order {
		r[o] = float64(i)
	}
	return r
}

// channelNoise is the closed form for one channel at 1 to quant.MaxBits bits:
// error power of its best window, times the energy of the weights that read it.
type channelNoise [quant.MaxBits + 1]float64

// noise returns the closed form for each channel of a planned tensor.
func (a *ActivationPlan) noise(ctx context.Context, g *onnx.Graph, profile *calib.Profile, w *kernels.Workers) ([]channelNoise, error) {
	stats := profile.Tensors[a.Tensor]
	if stats == nil {
		return nil, fmt.Errorf("tensor %q was not calibrated", a.Tensor)
	}
	energy, err := a.energy(g, len(stats.Channels))
	if err != nil {
		return nil, err
	}
	noise := make([]channelNoise, len(stats.Channels))
	errs := make([]error, len(noise))
	err = w.For(ctx, len(noise), func(c, _ int) {
		s := &stats.Channels[c]
		if len(s.Z.Bins()) == 0 {
			return // constant: any window gives it back
		}
		for bits := 1; bits <= quant.MaxBits; bits++ {
			_, _, mse, err := bestWindow(stats.Of(c), s, quant.Levels(bits), false)
			if err != nil {
				errs[c] = fmt.Errorf("tensor %q, channel %d: %w", a.Tensor, c, err)
				return
			}
			noise[c][bits] = mse * s.MeanVariance() * energy[c]
		}
	})
	for _, e := range errs {
		if err == nil {
			err = e
		}
	}
	return noise, err
}

// energy returns, for each channel, the sum of squares of the weights that read
// it in the planned convolutions.
func (a *ActivationPlan) energy(g *onnx.Graph, channels int) ([]float64, error) {
	energy := make([]float64, channels)
	for _, n := range g.Nodes {
		if !slices.Contains(a.Readers, n.Label()) || !quantizable(n) {
			continue
		}
		t := n.Inputs[1].Const
		data, err := t.Float32s()
		if err != nil {
			return nil, err
		}
		layout := inputChannels(n, t.Shape, channels)
		for i, v := range data {
			energy[layout(i)] += float64(v) * float64(v)
		}
	}
	return energy, nil
}

// inputChannels returns which input channel weight i of a Conv [Out,In/g,kH,kW]
// or a ConvTranspose [In,Out/g,kH,kW] reads.
func inputChannels(n *onnx.Node, shape []int64, channels int) func(i int) int {
	taps := 1
	for _, d := range shape[2:] {
		taps *= int(d)
	}
	second := int(shape[1])
	if n.Op == "ConvTranspose" {
		return func(i int) int { return i / (taps * second) }
	}
	groups := max(channels/max(second, 1), 1)
	outputs := max(int(shape[0])/groups, 1) // of a group
	return func(i int) int {
		o, in := i/(taps*second), i/taps%second
		return o/outputs*second + in
	}
}

// normalNoise is the error power of the best uniform quantizer of 1 to 8 bits
// for a normal distribution of variance 1 (J. Max, "Quantizing for minimum
// distortion", 1960): how the noise of weights falls with their bits.
var normalNoise = channelNoise{0, 0.3634, 0.1188, 0.03744, 0.01154, 0.003495, 0.001041, 0.0003035, 0.00008714}
