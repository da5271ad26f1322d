package converter

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/metric"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// Drop is what quantization costs on the calibration pictures: their middles are
// shrunk bicubically and enlarged again by both networks.
type Drop struct {
	Float     float64 `json:"float_psnr_y"` // mean in dB
	Quantized float64 `json:"quantized_psnr_y"`
	Pictures  int     `json:"pictures"`
}

// DB is by how much PSNR-Y falls.
func (d Drop) DB() float64 { return d.Float - d.Quantized }

const (
	dropPictures = 8
	dropSize     = 192 // of an original, at most
)

// reference is the middle of a calibration picture, shrunk, and what the float
// network makes of that.
type reference struct {
	small, original *imaging.Image
	psnr            float64
}

// takeReferences fills in q.references; their sides are multiples of the network's
// scale.
func (q *Quantized) takeReferences(ctx context.Context, images *calib.Dataset, o QuantizeOptions) error {
	names := images.Names()
	count := min(len(names), dropPictures)
	for i := range count {
		o.Progress.report("compare", i, count)
		m, err := images.Image(i * len(names) / count)
		if err != nil {
			return err
		}
		scale := q.Network.Scale
		w, h := min(m.Width, dropSize)/scale*scale, min(m.Height, dropSize)/scale*scale
		if min(w, h) < 8*scale {
			continue // too little is left of it
		}
		r := reference{original: m.Middle(w, h)}
		if r.small, err = imaging.Resize(r.original, w/scale, h/scale); err != nil {
			return err
		}
		if r.psnr, err = r.measure(ctx, q.Network); err != nil {
			return fmt.Errorf("float network: %w", err)
		}
		q.references = append(q.references, r)
	}
	return nil
}

// measure returns the PSNR-Y of what a network makes of the reference.
func (r *reference) measure(ctx context.Context, n *calib.Network) (float64, error) {
	picture, err := n.Upscale(ctx, r.small)
	if err != nil {
		return 0, err
	}
	psnr, err := metric.PSNR(picture, r.original, n.Scale)
	return min(psnr, maxPSNR), err
}

// drop measures a quantized network. Without a picture that is large enough all
// is zero.
func (q *Quantized) drop(ctx context.Context, quantized *onnx.Model, images *calib.Dataset, o QuantizeOptions) (d Drop, err error) {
	if q.references == nil {
		if err := q.takeReferences(ctx, images, o); err != nil {
			return d, err
		}
	}
	if len(q.references) == 0 {
		return d, nil
	}
	in := calib.Input{Range: q.Network.Range, Enlarge: o.Input.Enlarge}
	network, err := Open(ctx, quantized, in, runtime.Options{Threads: o.Threads})
	if err != nil {
		return d, fmt.Errorf("quantized network: %w", err)
	}
	for i, r := range q.references {
		o.Progress.report("compare", i, len(q.references))
		psnr, err := r.measure(ctx, network)
		if err != nil {
			return d, fmt.Errorf("quantized network: %w", err)
		}
		d.Float += r.psnr / float64(len(q.references))
		d.Quantized += psnr / float64(len(q.references))
	}
	d.Pictures = len(q.references)
	return d, nil
}

// Trial is one step of the search for MaxDrop.
type Trial struct {
	AverageBits float64 `json:"average_bits"`
	DropDB      float64 `json:"drop_db"`
}

// The search tries averages that are this many to a bit.
const averagesPerBit = 4

// search looks for the lowest average bits, of activations and weights alike,
// that keep the drop on the calibration pictures within o.MaxDrop, and returns
// the rounding of that plan. It takes for granted that more bits lose less.
func (q *Quantized) search(ctx context.Context, images *calib.Dataset, o QuantizeOptions) (passes.Rounding, error) {
	_, noise, err := q.sensitivity(ctx, images, q.Plan.Activations[0].Bits, o)
	if err != nil {
		return nil, err
	}
	uniform := q.Plan
	var best passes.Rounding
	try := func(quarters int) (within bool, err error) {
		average := float64(quarters) / averagesPerBit
		before := q.Plan
		if q.Plan, err = noise.Spend(uniform, q.Profile, average, average); err != nil {
			return false, err
		}
		rounding, err := q.round(ctx, images, o)
		if err != nil {
			return false, err
		}
		if _, err = q.apply(ctx, images, rounding, o); err != nil {
			return false, err
		}
		d := q.Drop
		if d.Pictures == 0 {
			return false, fmt.Errorf("the calibration pictures are too small to measure a drop: give larger ones")
		}
		q.Trials = append(q.Trials, Trial{average, d.DB()})
		if d.DB() > o.MaxDrop {
			q.Plan = before
			return false, nil
		}
		best = rounding
		q.Mixed = &Mixed{}
		q.Mixed.Activations, q.Mixed.Weights = noise.AverageBits(q.Plan)
		return true, nil
	}
	low, high := 2*averagesPerBit, 8*averagesPerBit // the answer is in [low, high]
	for low < high {
		middle := (low + high) / 2
		within, err := try(middle)
		if err != nil {
			return nil, err
		}
		if within {
			high = middle
		} else {
			low = middle + 1
		}
	}
	if best == nil { // nothing below 8 bits was good enough
		within, err := try(high)
		if err != nil {
			return nil, err
		}
		if !within {
			return nil, fmt.Errorf("8 bits still lose %.2f dB on the calibration pictures: allow more than %g dB, or leave convolutions out with --exclude (daq sensitivity shows the worst)", q.Trials[len(q.Trials)-1].DropDB, o.MaxDrop)
		}
	}
	return best, nil
}
