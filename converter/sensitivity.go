package converter

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// sensitivityPictures is the number of pieces of pictures that effects are
// measured on.
const sensitivityPictures = 4

// Sensitivity measures how much each tensor and the weights of each convolution
// that the options select cost when they alone are quantized to bits bits, and
// sets the closed form beside it.
func Sensitivity(ctx context.Context, m *onnx.Model, images *calib.Dataset, bits int, o QuantizeOptions) (*passes.Sensitivity, error) {
	o.Rule, o.WeightBits, o.ActivationBits = passes.Calibrated, bits, bits
	simple, err := Simplify(ctx, m)
	if err != nil {
		return nil, err
	}
	q := &Quantized{Model: simple, Source: digest(m)}
	if err := q.plan(ctx, images, o); err != nil {
		return nil, err
	}
	s, _, err := q.sensitivity(ctx, images, bits, o)
	return s, err
}

// sensitivity measures the parts of the plan and predicts their noise at other
// bit-widths.
func (q *Quantized) sensitivity(ctx context.Context, images *calib.Dataset, bits int, o QuantizeOptions) (*passes.Sensitivity, *passes.NoiseModel, error) {
	test, err := q.newTest(ctx, images, sensitivityPictures, roundingSize, o)
	if err != nil {
		return nil, nil, err
	}
	s := &passes.Sensitivity{Format: passes.SensitivityFormat, Model: q.Source, Bits: bits, Images: len(test.inputs)}
	total := len(q.Plan.Activations) + len(q.Plan.Weights)
	alone := func(name string, plan passes.Plan) (passes.PartSensitivity, error) {
		o.Progress.report("measure", len(s.Activations)+len(s.Weights), total)
		plan.Format, plan.Rule, plan.SigmaBits = q.Plan.Format, q.Plan.Rule, q.Plan.SigmaBits
		loss, err := test.loss(ctx, &plan, nil)
		if err != nil {
			return passes.PartSensitivity{}, fmt.Errorf("%s quantized alone: %w", name, err)
		}
		return passes.PartSensitivity{Name: name, Loss: loss}, nil
	}
	for _, a := range q.Plan.Activations {
		a.Bits = bits
		part, err := alone(a.Tensor, passes.Plan{Activations: []passes.ActivationPlan{a}})
		if err != nil {
			return nil, nil, err
		}
		s.Activations = append(s.Activations, part)
	}
	for _, w := range q.Plan.Weights {
		w.Bits = bits
		part, err := alone(w.Node, passes.Plan{Weights: []passes.WeightPlan{w}})
		if err != nil {
			return nil, nil, err
		}
		s.Weights = append(s.Weights, part)
	}
	o.Progress.report("measure", total, total)
	noise, err := passes.Predict(ctx, q.Model.Graph, q.Plan, q.Profile, s, o.Threads)
	return s, noise, err
}

// test compares quantized networks with the float one on pieces of the
// calibration pictures.
type test struct {
	float    *onnx.Model
	options  runtime.Options
	white    float64
	inputs   []*runtime.Tensor
	expected [][]float32
}

func (q *Quantized) newTest(ctx context.Context, images *calib.Dataset, pictures, size int, o QuantizeOptions) (*test, error) {
	t := &test{float: q.Model, options: runtime.Options{Threads: o.Threads}, white: float64(q.Network.Range)}
	var err error
	if t.inputs, err = q.pieces(images, pictures, size); err != nil {
		return nil, err
	}
	t.expected, err = t.run(ctx, q.Model)
	return t, err
}

func (t *test) run(ctx context.Context, m *onnx.Model) ([][]float32, error) {
	program, err := runtime.Compile(m, t.options)
	if err != nil {
		return nil, err
	}
	var outputs [][]float32
	for _, x := range t.inputs {
		out, err := program.Run(ctx, map[string]*runtime.Tensor{program.Inputs()[0]: x}, nil)
		if err != nil {
			return nil, err
		}
		data, err := out[program.Outputs()[0]].Float32s()
		if err != nil {
			return nil, err
		}
		outputs = append(outputs, data)
	}
	return outputs, nil
}

// loss is the mean squared difference of the outputs that a plan makes, white
// being 1.
func (t *test) loss(ctx context.Context, p *passes.Plan, rounding passes.Rounding) (float64, error) {
	m := t.float.Clone()
	if _, err := passes.Quantize(m, p, rounding, 0); err != nil {
		return 0, err
	}
	return t.difference(ctx, m)
}

// difference is the mean squared difference of the outputs of another network, white being 1.
func (t *test) difference(ctx context.Context, m *onnx.Model) (float64, error) {
	outputs, err := t.run(ctx, m)
	if err != nil {
		return 0, err
	}
	sum, count := 0.0, 0
	for i, out := range outputs {
		for j, v := range out {
			d := (float64(v) - float64(t.expected[i][j])) / t.white
			sum += d * d
		}
		count += len(out)
	}
	return sum / float64(max(count, 1)), nil
}
