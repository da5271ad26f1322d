package converter

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// QuantizeOptions are the choices of Quantize.
type QuantizeOptions struct {
	passes.Settings
	Mode     target.Mode    // dynamic or static; the target's when empty
	Target   string         // name of a target; portable or, static, onnxruntime when empty
	Plan     *passes.Plan   // obeyed instead of Settings when given
	Profile  *calib.Profile // statistics that are there already: the network is not run over their pictures again
	Budget   Budget         // bits on average, where they are to differ by channel and layer
	Protect  bool           // 8 bits for the few layers that lose most of the picture, where much is lost
	MaxDrop  float64        // when above 0: the lowest average bits whose PSNR-Y drops by at most this many dB on the calibration pictures
	Opset    int64          // 0 means the lowest that stores the codes at their own width
	Inline   bool           // standard operators only: the DAQ functions are expanded
	Input    calib.Input
	Threads  int // 0 means all processors
	Progress Progress
}

// Quantized is the outcome of Quantize.
type Quantized struct {
	Model   *onnx.Model
	Source  string // SHA-256 of the float network
	Plan    *passes.Plan
	Profile *calib.Profile // nil when nothing was calibrated
	Network *calib.Network // the float network as it sees pictures
	Mixed   *Mixed         // nil for uniform bits
	Trials  []Trial        // of the search for MaxDrop, in order
	Drop    Drop           // on the calibration pictures; zero when there are none
	Shift   float64        // by how much the mean of a colour of a calibration picture moves at most, of 255; 0 when that was not compared
	Pruned  *Pruned        // nil when every channel is there
	Done    *passes.Quantized

	Losses      []LayerLoss // of every layer, the worst first; measured when the drop is large
	Protected   []LayerLoss // of these, before, the layers that have more bits than the settings say
	Unprotected []LayerLoss // or those that would have with QuantizeOptions.Protect

	references []reference // of the float network, to measure Drop against
}

// Quantize makes a quantized copy of a float network: simplify, calibrate on the
// pictures, plan, round the weights for the pictures, rewrite. images may be nil
// when a plan is given, which is then obeyed without rounding for pictures, or when
// the rule needs no calibration.
func Quantize(ctx context.Context, m *onnx.Model, images *calib.Dataset, o QuantizeOptions) (*Quantized, error) {
	t, mode, err := o.Form()
	if err != nil {
		return nil, err
	}
	simple, err := Simplify(ctx, m)
	if err != nil {
		return nil, err
	}
	result := &Quantized{Model: simple, Source: digest(m), Plan: o.Plan}
	if p := o.Plan; p != nil && p.Model != "" && p.Model != result.Source {
		return nil, fmt.Errorf("the plan was made for another network (%.12s, this is %.12s): make one from this network, or take its \"model\" line out", p.Model, result.Source)
	}
	if mode == target.Static {
		if o.Inline {
			return nil, fmt.Errorf("static graphs have standard operators only: leave out --inline, which expands the functions of dynamic ones")
		}
		float := simple.Clone()
		if err := result.quantizeStatic(ctx, images, t, o); err != nil {
			return nil, err
		}
		left, err := result.holdColours(ctx, float, result.Model, images, o)
		if err != nil {
			return nil, err
		}
		result.Shift = left.of255()
		if err := result.measure(ctx, result.Model, images, o); err != nil {
			return nil, err
		}
		return result.finish(o), nil
	}
	if o.Plan == nil {
		if err := result.plan(ctx, images, o); err != nil {
			return nil, err
		}
	} else if result.Network, err = Open(ctx, simple, o.inputOf(o.Plan), runtime.Options{Threads: o.Threads}); err != nil {
		return nil, err
	}
	result.Plan.Model, result.Plan.InputRange = result.Source, result.Network.Range
	o.Progress.report("quantize", 0, 1)
	finish := result.round
	switch {
	case o.MaxDrop > 0:
		finish = result.search
	case o.Budget != (Budget{}):
		finish = result.mix
	}
	rounding, err := finish(ctx, images, o)
	if err != nil {
		return nil, err
	}
	quantized, err := result.apply(ctx, images, rounding, o)
	if err != nil {
		return nil, err
	}
	if result.Drop.DB() > MuchDrop {
		if quantized, err = result.protect(ctx, images, quantized, o); err != nil {
			return nil, err
		}
	}
	if quantized, err = result.keepColours(ctx, quantized, images, o); err != nil {
		return nil, err
	}
	if o.Inline {
		if err := onnx.Inline(quantized); err != nil {
			return nil, err
		}
		quantized.IRVersion = max(simple.IRVersion, onnx.IRVersionFor(quantized.Opset("")))
	}
	result.Model = quantized
	return result.finish(o), nil
}

// finish writes into the model how it was made.
func (q *Quantized) finish(o QuantizeOptions) *Quantized {
	describe(q.Model, q)
	o.Progress.report("quantize", 1, 1)
	return q
}

// apply makes the quantized network that the plan describes and measures what
// that costs on the calibration pictures.
func (q *Quantized) apply(ctx context.Context, images *calib.Dataset, rounding passes.Rounding, o QuantizeOptions) (*onnx.Model, error) {
	m := q.Model.Clone()
	var err error
	if q.Done, err = passes.Quantize(m, q.Plan, rounding, o.Opset); err != nil {
		return nil, err
	}
	return m, q.measure(ctx, m, images, o)
}

// measure fills in Drop of a quantized network, if there are pictures to measure on.
func (q *Quantized) measure(ctx context.Context, m *onnx.Model, images *calib.Dataset, o QuantizeOptions) (err error) {
	if images != nil && q.Plan.Rule == passes.Calibrated {
		q.Drop, err = q.drop(ctx, m, images, o)
	}
	return err
}

func (o *QuantizeOptions) inputOf(p *passes.Plan) calib.Input {
	in := o.Input
	if in.Range == 0 {
		in.Range = p.InputRange
	}
	return in
}

// plan fills in Plan and Network, and Profile when the rule is calibrated.
func (q *Quantized) plan(ctx context.Context, images *calib.Dataset, o QuantizeOptions) error {
	convs, err := passes.Select(q.Model.Graph, o.Layers)
	if err != nil {
		return err
	}
	if o.Rule == passes.Calibrated {
		q.Profile, q.Network, err = calibrate(ctx, q.Model, q.Source, passes.Tensors(convs), false, images, o)
	} else {
		q.Network, err = Open(ctx, q.Model, o.Input, runtime.Options{Threads: o.Threads})
	}
	if err != nil {
		return err
	}
	if q.Plan, err = passes.MakePlan(q.Model.Graph, o.Settings, q.Profile); err != nil {
		return err
	}
	if q.Profile != nil {
		q.Plan.Images = len(q.Profile.Images)
	}
	return nil
}

// Weights are rounded for the middle of some pictures; time and memory grow with both.
// Static scales do not depend on the picture at hand: fewer and less of them are enough.
const (
	roundingPictures, roundingSize             = 16, 96
	staticRoundingPictures, staticRoundingSize = 8, 64
)

// round rounds the weights for the pictures, when there are any and the rule is
// calibrated.
func (q *Quantized) round(ctx context.Context, images *calib.Dataset, o QuantizeOptions) (passes.Rounding, error) {
	if images == nil || q.Plan.Rule != passes.Calibrated {
		return nil, nil
	}
	count, size := roundingPictures, roundingSize
	if q.Plan.Mode == target.Static {
		count, size = staticRoundingPictures, staticRoundingSize
	}
	pictures, err := q.pieces(images, count, size)
	if err != nil {
		return nil, err
	}
	return passes.Round(ctx, q.Model, q.Plan, pictures, passes.RoundOptions{
		Threads: o.Threads, Progress: func(done, total int) { o.Progress.report("round", done, total) },
	})
}

// pieces returns the middle of at most count pictures, size pixels or less on a side.
func (q *Quantized) pieces(images *calib.Dataset, count, size int) (pieces []*runtime.Tensor, err error) {
	names := images.Names()
	count = min(len(names), count)
	for i := range count {
		m, err := images.Image(i * len(names) / count)
		if err != nil {
			return nil, err
		}
		t, err := q.Network.Tensor(m.Middle(min(m.Width, size), min(m.Height, size)))
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, t)
	}
	return pieces, nil
}
