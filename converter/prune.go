package converter

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

// prices are what is tried for channels (passes.QuietChannels), the most channels first.
var prices = []float64{0.1, 0.3, 1, passes.Silent}

const (
	// leastPruned is the share of the weights that is worth a network of its own.
	leastPruned = 1. / 20
	// mostPruned is what may be lost with them, in units of what 8 bits lose of the same pictures.
	mostPruned = 1. / 3
)

// Pruned is what was taken out of a network.
type Pruned struct {
	Channels int              `json:"channels"` // of feature maps that convolutions make
	Of       int              `json:"of"`       // these maps had
	Tensors  int              `json:"tensors"`  // the maps
	gone     map[string][]int // channels, of these maps and of all that are tied to them
}

// takeOut takes channels out of a prepared network; nil when there are none to take.
func takeOut(g *onnx.Graph, plans []passes.PrunePlan) (*Pruned, error) {
	gone, err := passes.Prune(g, plans)
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	p := &Pruned{Tensors: len(plans), gone: gone}
	for _, plan := range plans {
		p.Channels += len(plan.Channels)
		p.Of += len(plan.Channels) + int(g.Value(plan.Tensor).Type.Shape[1].Value)
	}
	return p, nil
}

// prune takes quiet channels out of the prepared network where it becomes much smaller and makes
// the same of the pictures; without pictures, those alone that never change. It returns
// what it took out and the statistics of what is left.
func (q *Quantized) prune(ctx context.Context, images *calib.Dataset, t *target.Target, o QuantizeOptions) ([]passes.PrunePlan, *calib.Profile, error) {
	var test *test
	var rounded float64 // what 8 bits lose
	for _, price := range prices {
		if images == nil && price != passes.Silent {
			continue
		}
		plans := passes.QuietChannels(q.Model.Graph, t, o.Layers, q.Profile, price)
		if len(plans) == 0 {
			break
		}
		pruned := q.Model.Clone()
		out, err := takeOut(pruned.Graph, plans)
		if err != nil {
			return nil, nil, err
		}
		if share := float64(passes.Weights(pruned.Graph)) / float64(passes.Weights(q.Model.Graph)); share > 1-leastPruned {
			break
		}
		profile := q.Profile.Without(out.gone)
		if profile.Covers(passes.StaticTensors(pruned.Graph, t, o.Layers)) != nil {
			continue // of a smaller network quantizers can stand elsewhere
		}
		if images != nil {
			if test == nil {
				if test, err = q.newTest(ctx, images, staticRoundingPictures, staticRoundingSize, o); err != nil {
					return nil, nil, fmt.Errorf("float network: %w", err)
				}
				if rounded, err = q.lossOfCodes(ctx, test, t, o); err != nil {
					return nil, nil, fmt.Errorf("quantized network: %w", err)
				}
			}
			if lost, err := test.difference(ctx, pruned); err != nil {
				return nil, nil, fmt.Errorf("pruned network: %w", err)
			} else if lost > mostPruned*rounded {
				continue
			}
		}
		q.Model, q.Pruned = pruned, out
		return plans, profile, nil
	}
	return nil, q.Profile, nil
}

// lossOfCodes returns what 8 bits lose on the pictures of a test, weights rounded to the nearest codes.
func (q *Quantized) lossOfCodes(ctx context.Context, test *test, t *target.Target, o QuantizeOptions) (float64, error) {
	m, settings := q.Model.Clone(), o.Settings
	settings.WeightBits, settings.ActivationBits = 8, 8
	plan, err := passes.MakeStaticPlan(m.Graph, settings, t, q.Profile, q.Network.Range)
	if err != nil {
		return 0, err
	}
	if err := fold(m.Graph, plan, t); err != nil {
		return 0, err
	}
	if _, err := passes.QuantizeStatic(m, plan, nil, t, o.Opset); err != nil {
		return 0, err
	}
	return test.difference(ctx, m)
}
