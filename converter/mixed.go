package converter

import (
	"context"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/passes"
)

// Budget is how many bits a plan may use on average; 0 leaves the bit-width of
// the settings.
type Budget struct {
	Activations float64 // over the values of all quantized tensors
	Weights     float64 // over the weights of all quantized convolutions
}

// mix replaces the plan by one that spends the budget where it pays, unless
// uniform bits within the budget serve the calibration pictures better, and returns
// its rounding.
func (q *Quantized) mix(ctx context.Context, images *calib.Dataset, o QuantizeOptions) (passes.Rounding, error) {
	bits := max(q.Plan.Activations[0].Bits, q.Plan.Weights[0].Bits)
	_, noise, err := q.sensitivity(ctx, images, bits, o)
	if err != nil {
		return nil, err
	}
	mixed, err := noise.Spend(q.Plan, q.Profile, o.Budget.Activations, o.Budget.Weights)
	if err != nil {
		return nil, err
	}
	test, err := q.newTest(ctx, images, sensitivityPictures, roundingSize, o)
	if err != nil {
		return nil, err
	}
	uniform := q.Plan
	rounding, err := q.round(ctx, images, o)
	if err != nil {
		return nil, err
	}
	least, err := test.loss(ctx, uniform, rounding)
	if err != nil {
		return nil, err
	}
	q.Plan = mixed
	mixedRounding, err := q.round(ctx, images, o)
	if err != nil {
		return nil, err
	}
	loss, err := test.loss(ctx, mixed, mixedRounding)
	if err != nil {
		return nil, err
	}
	q.Mixed = &Mixed{Loss: loss, UniformLoss: least}
	if loss <= least {
		rounding = mixedRounding
	} else {
		q.Plan = uniform
	}
	q.Mixed.Activations, q.Mixed.Weights = noise.AverageBits(q.Plan)
	return rounding, nil
}

// Mixed is what became of a Budget or a search. Losses are mean squared errors
// against the float network on the calibration pictures, white being 1; a search
// has none.
type Mixed struct {
	Activations, Weights float64 // average bits of the plan
	Loss                 float64 // of mixed bits
	UniformLoss          float64 // of uniform bits within the budget
}
