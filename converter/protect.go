package converter

import (
	"context"
	"fmt"
	"slices"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

// LayerLoss is what one quantized tensor and the weights of the convolutions that
// read it do to the output when nothing else is quantized.
type LayerLoss struct {
	Tensor string   `json:"tensor"`
	Layers []string `json:"layers"` // the convolutions
	Loss   float64  `json:"loss"`   // mean squared error of the network's output, white = 1
	Share  float64  `json:"share"`  // of the sum over all layers
}

const (
	// MuchDrop is the loss in dB on the calibration pictures from which on every
	// layer's own loss is measured.
	MuchDrop = 0.75
	// A layer that loses more than dominant times the mean of the others is
	// protected: it gets protectedBits.
	dominant      = 4
	leastShare    = 0.05 // of the loss of all layers, below which none is protected
	protectedBits = quant.MaxBits
	// lossPictures pieces of pictures of lossSize: enough to rank layers.
	lossPictures, lossSize = 4, 64
)

// layerLosses measures every layer of the plan alone; the worst come first.
// Weights go to the nearest codes: those that were rounded for the noise of the
// layers before do not suit a network without it.
func (q *Quantized) layerLosses(ctx context.Context, images *calib.Dataset, o QuantizeOptions) ([]LayerLoss, error) {
	test, err := q.newTest(ctx, images, lossPictures, lossSize, o)
	if err != nil {
		return nil, err
	}
	var losses []LayerLoss
	sum := 0.0
	for i, a := range q.Plan.Activations {
		o.Progress.report("measure", i, len(q.Plan.Activations))
		alone := *q.Plan
		alone.Activations = []passes.ActivationPlan{a}
		alone.Weights = slices.DeleteFunc(slices.Clone(q.Plan.Weights), func(w passes.WeightPlan) bool {
			return !slices.Contains(a.Readers, w.Node)
		})
		l := LayerLoss{Tensor: a.Tensor, Layers: a.Readers}
		if l.Loss, err = test.loss(ctx, &alone, nil); err != nil {
			return nil, fmt.Errorf("%s quantized alone: %w", a.Tensor, err)
		}
		sum += l.Loss
		losses = append(losses, l)
	}
	for i := range losses {
		losses[i].Share = losses[i].Loss / max(sum, 1e-30)
	}
	slices.SortStableFunc(losses, func(a, b LayerLoss) int {
		switch {
		case a.Loss > b.Loss:
			return -1
		case a.Loss < b.Loss:
			return 1
		}
		return 0
	})
	return losses, nil
}

// dominating returns how many of the layers, sorted by loss, stand out: each
// loses more than dominant times the mean of those behind it, and more than
// leastShare of all.
func dominating(losses []LayerLoss) (count int) {
	total := 0.0
	for _, l := range losses {
		total += l.Loss
	}
	rest := total
	for ; count < len(losses)-1; count++ {
		rest -= losses[count].Loss
		if l := losses[count].Loss; l <= leastShare*total || l*float64(len(losses)-1-count) <= dominant*rest {
			break
		}
	}
	return count
}

// protect measures the layers of a network that lost much and gives those that
// lose most of it more bits, if that helps. It returns the network it leaves.
func (q *Quantized) protect(ctx context.Context, images *calib.Dataset, quantized *onnx.Model, o QuantizeOptions) (*onnx.Model, error) {
	var err error
	if q.Losses, err = q.layerLosses(ctx, images, o); err != nil || !o.uniform() {
		return quantized, err
	}
	worst := q.Losses[:dominating(q.Losses)]
	if !o.Protect {
		q.Unprotected = worst
	}
	if !o.Protect || len(worst) == 0 {
		return quantized, nil
	}
	before := *q
	if q.Plan, err = q.Plan.Protect(tensorsOf(worst), protectedBits, q.Profile); err != nil {
		return nil, err
	}
	rounding, err := q.round(ctx, images, o)
	if err != nil {
		return nil, err
	}
	better, err := q.apply(ctx, images, rounding, o)
	if err != nil {
		return nil, err
	}
	if q.Drop.DB() >= before.Drop.DB() {
		*q = before
		return quantized, nil
	}
	q.Protected = worst
	return better, nil
}

// uniform reports whether bits are those of the settings, the same in all layers.
func (o *QuantizeOptions) uniform() bool {
	return o.Plan == nil && o.Budget == (Budget{}) && o.MaxDrop == 0
}

func tensorsOf(losses []LayerLoss) (names []string) {
	for _, l := range losses {
		names = append(names, l.Tensor)
	}
	return names
}
