package converter

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
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

// originals returns the middles of some calibration pictures, their sides
// multiples of the network's scale.
func (q *Quantized) originals(images *calib.Dataset) (originals []*imaging.Image, err error) {
	names := images.Names()
	count := min(len(names), dropPictures)
	for i := range count {
		m, err := images.Image(i * len(names) / count)
		if err != nil {
			return nil, err
		}
		scale := q.Network.Scale
		w, h := min(m.Width, dropSize)/scale*scale, min(m.Height, dropSize)/scale*scale
		if min(w, h) < 8*scale {
			continue // too little is left of it
		}
		originals = append(originals, cutOut(m, (m.Width-w)/2, (m.Height-h)/2, w, h))
	}
	return originals, nil
}

// drop measures a quantized network. Without a picture that is large enough all
// is zero.
func (q *Quantized) drop(ctx context.Context, quantized *onnx.Model, images *calib.Dataset, o QuantizeOptions) (d Drop, err error) {
	originals, err := q.originals(images)
	if err != nil || len(originals) == 0 {
		return d, err
	}
	in := calib.Input{Range: q.Network.Range, Enlarge: o.Input.Enlarge}
	network, err := Open(ctx, quantized, in, runtime.Options{Threads: o.Threads})
	if err != nil {
		return d, fmt.Errorf("quantized network: %w", err)
	}
	for i, original := range originals {
		o.Progress.report("compare", i, len(originals))
		scale := q.Network.Scale
		lr, err := imaging.Resize(original, original.Width/scale, original.Height/scale)
		if err != nil {
			return d, err
		}
		one, err := compare(ctx, q.Network, network, calib.Pair{LR: lr, HR: original}, false)
		if err != nil {
			return d, err
		}
		d.Float += one.Float.PSNR / float64(len(originals))
		d.Quantized += one.Quantized.PSNR / float64(len(originals))
	}
	d.Pictures = len(originals)
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
