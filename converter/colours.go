package converter

import (
	"context"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

const (
	// coloursPixels is how much of the calibration pictures colours are compared on. For static scales half is as good.
	coloursPixels, staticColoursPixels = 1 << 18, 1 << 17
	// A correction is worth its nodes where colours move by more than leastShift of white,
	// root mean square, and no more than mostLeft of it stays in pictures it was not fitted to.
	leastShift, mostLeft = 0.02 / 255, 0.6
	// Tap sums are not fitted: what they take back of these pictures they take back of others, little as it is.
	mostLeftByTapSums = 0.9
	// No colour of a picture may move by more than mostShift. Where one does, a correction or wider windows are worth
	// it that leave at most mostLeftOfWorst of that; less is not worth the detail that wider windows lose, which may be
	// mostWider dB of the calibration pictures (ESRGAN_slim_x2 0.37, RDN_x2 1.2 of Set5 at 3 bits).
	mostShift, mostLeftOfWorst, mostWider = 0.1 / 255, 0.75, 0.75
	// coloursRidge is the share of its own variance that is added to that of each regressor.
	coloursRidge = 0.01
)

// colourMeans are the means of every channel in a piece of a picture: of what is read,
// of what both networks make of it, and of what the last convolutions of the quantized one read.
type colourMeans struct {
	picture              string
	in, float, quantized []float64
	inputs               [][]float64
}

// shift is how far means of colours move, in parts of white.
type shift struct {
	rms   float64 // over pieces and colours
	worst float64 // of the worst colour of the worst picture
}

func (s shift) of255() float64 { return 255 * s.worst }

// keepColours corrects what quantization does to the means of colours. Where a calibration
// picture moves too far all the same, clipping is taken to be the cause: windows become
// wider, if that takes a quarter of it back and little detail. It returns the network it leaves.
func (q *Quantized) keepColours(ctx context.Context, quantized *onnx.Model, images *calib.Dataset, o QuantizeOptions) (*onnx.Model, error) {
	left, err := q.holdColours(ctx, q.Model, quantized, images, o)
	q.Shift = left.of255()
	if err != nil || left.worst <= mostShift || !o.uniform() {
		return quantized, err
	}
	before := *q
	if q.Plan, err = q.Plan.KeepOutliers(q.Profile); err != nil {
		return nil, err
	}
	rounding, err := q.round(ctx, images, o)
	if err != nil {
		return nil, err
	}
	wider, err := q.apply(ctx, images, rounding, o)
	if err != nil {
		return nil, err
	}
	if still, err := q.holdColours(ctx, q.Model, wider, images, o); err != nil {
		return nil, err
	} else if worthWidening(left, still, q.Drop.DB()-before.Drop.DB()) {
		q.Shift = still.of255()
		return wider, nil
	}
	*q = before
	return quantized, nil
}

// holdColours makes the quantized network correct the means of colours that quantization moves: by
// what the last weights of a dynamic one lost, where that tells anything, and by what can be told
// from the means of the picture that is read and of the one that is made. It returns what is left
// of it on pictures that are not corrected by themselves.
func (q *Quantized) holdColours(ctx context.Context, float, quantized *onnx.Model, images *calib.Dataset, o QuantizeOptions) (left shift, err error) {
	if _, y := passes.ColoursOf(quantized.Graph); y == nil || images == nil || q.Plan.Rule != passes.Calibrated {
		return left, nil
	}
	pixels := coloursPixels
	if q.clipsColours() {
		pixels = staticColoursPixels
	}
	sample := images.Sample(pixels)
	if names := sample.Names(); names[0] == names[len(names)-1] {
		return left, nil // nothing to try it on
	}
	pieces := make([]colourMeans, len(sample.Names()))
	if err := q.colourMeans(ctx, float, nil, sample, o, func(i int, m colourMeans) {
		pieces[i] = colourMeans{picture: m.picture, in: m.in, float: m.quantized}
	}); err != nil {
		return left, fmt.Errorf("float network: %w", err)
	}
	sums, err := passes.LostTapSums(ctx, float, quantized)
	if err != nil {
		return left, err
	}
	if err := q.colourMeans(ctx, quantized, sums, sample, o, func(i int, m colourMeans) {
		pieces[i].quantized, pieces[i].inputs = m.quantized, m.inputs
	}); err != nil {
		return left, fmt.Errorf("quantized network: %w", err)
	}
	moved := q.shiftOf(pieces, nil)
	if !worthCorrecting(moved, q.Plan.Mode) {
		return moved, nil
	}
	if len(sums) > 0 {
		held, kept, means := quantized.Clone(), slices.Clone(pieces), inputMeans(pieces)
		if err := passes.HoldTapSums(held.Graph, sums, means); err != nil {
			return left, err
		}
		if err := q.colourMeans(ctx, held, nil, sample, o, func(i int, m colourMeans) { kept[i].quantized = m.quantized }); err != nil {
			return left, fmt.Errorf("quantized network: %w", err)
		}
		if left := q.shiftOf(kept, nil); left.rms <= mostLeftByTapSums*moved.rms {
			if err := passes.HoldTapSums(quantized.Graph, sums, means); err != nil {
				return left, err
			}
			pieces, moved = kept, left
		}
	}
	// Each picture is corrected by what the others tell.
	left = q.shiftOf(pieces, func(picture string) passes.Colours {
		return fitColours(slices.DeleteFunc(slices.Clone(pieces), func(m colourMeans) bool { return m.picture == picture }))
	})
	if !worthHolding(moved, left) {
		return moved, nil
	}
	return left, passes.HoldColours(quantized.Graph, fitColours(pieces))
}

// worthWidening reports whether wider windows, which lose so many dB of detail, take enough back of what moves.
func worthWidening(left, still shift, lost float64) bool {
	return still.worst <= mostLeftOfWorst*left.worst && lost <= mostWider
}

// worthCorrecting reports whether colours move enough to look for a correction. Dynamic graphs have means of the picture at
// hand anyway; others run twice over a large picture, in tiles, for them: there a colour must move half as far as it may,
// as those of other pictures move up to twice as far.
func worthCorrecting(moved shift, mode target.Mode) bool {
	return moved.rms >= leastShift && (mode != target.Static || moved.worst > mostShift/2)
}

// worthHolding reports whether a correction takes enough back of what moves.
func worthHolding(moved, left shift) bool {
	return moved.rms >= leastShift && (left.rms <= mostLeft*moved.rms ||
		moved.worst > mostShift && left.worst <= mostLeftOfWorst*moved.worst)
}

// shiftOf returns how far means of colours move, with the correction of each picture if there is one.
func (q *Quantized) shiftOf(pieces []colourMeans, correction func(picture string) passes.Colours) shift {
	sum, count, worst := 0.0, 0, 0.0
	means, parts := make([]float64, len(pieces[0].in)), 0.0 // of one picture
	var c passes.Colours
	for i, m := range pieces {
		if i == 0 || m.picture != pieces[i-1].picture {
			clear(means)
			parts = 0
			if correction != nil {
				c = correction(m.picture)
			}
		}
		parts++
		for k := range m.in {
			shift := m.quantized[k] - m.float[k]
			if correction != nil {
				shift += c.At(m.quantized, m.in, k)
			}
			sum, count = sum+float64(shift*shift), count+1
			means[k] += shift
		}
		if i == len(pieces)-1 || m.picture != pieces[i+1].picture {
			for _, shift := range means {
				worst = max(worst, math.Abs(shift)/parts)
			}
		}
	}
	white := float64(q.Network.Range)
	return shift{rms: math.Sqrt(sum/float64(count)) / white, worst: worst / white}
}

// inputMeans returns the means of the inputs over all pieces.
func inputMeans(pieces []colourMeans) [][]float64 {
	means := make([][]float64, len(pieces[0].inputs))
	for i, first := range pieces[0].inputs {
		means[i] = make([]float64, len(first))
		for _, m := range pieces {
			for c, v := range m.inputs[i] {
				means[i][c] += v / float64(len(pieces))
			}
		}
	}
	return means
}

// colourMeans runs a network over a sample and calls f for every piece: with the means of
// what it makes, as quantized, and of what the convolutions that sums names read.
func (q *Quantized) colourMeans(ctx context.Context, m *onnx.Model, sums []passes.TapSums, sample *calib.Dataset, o QuantizeOptions, f func(piece int, m colourMeans)) error {
	_, y := passes.ColoursOf(m.Graph)
	least, most := float32(-math.MaxFloat32), float32(math.MaxFloat32)
	if q.clipsColours() {
		least, most = 0, q.Network.Range
	}
	observe := []string{y.Name}
	for _, s := range sums {
		observe = append(observe, s.Input)
	}
	program, err := runtime.Compile(m, runtime.Options{Threads: o.Threads, Observe: observe})
	if err != nil {
		return err
	}
	done := 0
	return sample.Each(ctx, func(name string, piece *imaging.Image) error {
		o.Progress.report("colours", done, len(sample.Names()))
		x, err := q.Network.Tensor(piece)
		if err != nil {
			return err
		}
		means := map[string][]float64{}
		_, err = program.Run(ctx, map[string]*runtime.Tensor{program.Inputs()[0]: x}, func(name string, t *runtime.Tensor) error {
			means[name] = channelMeans(t, least, most)
			return nil
		})
		if err != nil {
			return err
		}
		m := colourMeans{picture: name, in: channelMeans(x, least, most), quantized: means[y.Name]}
		for _, s := range sums {
			m.inputs = append(m.inputs, means[s.Input])
		}
		f(done, m)
		done++
		return nil
	})
}

// clipsColours reports whether colours are compared as a picture shows them, within black and white: codes of static graphs
// end there, and that nothing is beyond is no shift. Dynamic graphs and stored weights give floats like those of the float network.
func (q *Quantized) clipsColours() bool {
	return q.Plan.Mode == target.Static && len(q.Plan.Activations) > 0
}

// channelMeans returns the mean of every channel of a tensor [1,C,H,W], clipped to least and most.
func channelMeans(t *runtime.Tensor, least, most float32) []float64 {
	data, means := t.Data.([]float32), make([]float64, t.Shape[1])
	hw := t.Shape[2] * t.Shape[3]
	for c := range means {
		for _, v := range data[c*hw : (c+1)*hw] {
			means[c] += float64(min(max(v, least), most)) / float64(hw)
		}
	}
	return means
}

// fitColours regresses what quantization adds to the mean of a channel on the means of
// what is read and on how far those of the quantized network's output are from them: a
// network that keeps means in float shows there what quantization did.
func fitColours(pieces []colourMeans) passes.Colours {
	channels := len(pieces[0].in)
	n, regressors := float64(len(pieces)), 2*channels
	x, y := mat.NewDense(len(pieces), regressors, nil), mat.NewDense(len(pieces), channels, nil)
	for i, m := range pieces {
		for c := range channels {
			x.Set(i, c, m.quantized[c]-m.in[c])
			x.Set(i, channels+c, m.in[c])
			y.Set(i, c, m.float[c]-m.quantized[c])
		}
	}
	centre := func(d *mat.Dense) []float64 {
		rows, columns := d.Dims()
		means := make([]float64, columns)
		for j := range columns {
			means[j] = mat.Sum(d.ColView(j)) / n
			for i := range rows {
				d.Set(i, j, d.At(i, j)-means[j])
			}
		}
		return means
	}
	xMean, yMean := centre(x), centre(y)
	var gram mat.SymDense
	gram.SymOuterK(1, x.T())
	for i := range regressors {
		gram.SetSym(i, i, gram.At(i, i)*(1+coloursRidge)+1e-30)
	}
	var right, solved mat.Dense
	right.Mul(x.T(), y)
	var factor mat.Cholesky
	if factor.Factorize(&gram) {
		_ = factor.SolveTo(&solved, &right)
	} else {
		solved.ReuseAs(regressors, channels) // all pieces are alike: constants alone
	}
	colours := passes.Colours{Gain: make([]float32, channels*regressors), Bias: make([]float32, channels)}
	for c := range channels {
		bias := yMean[c]
		for j := range channels {
			seen, read := solved.At(j, c), solved.At(channels+j, c)
			bias -= seen*xMean[j] + read*xMean[channels+j]
			colours.Gain[c*regressors+j], colours.Gain[c*regressors+channels+j] = float32(seen), float32(read-seen)
		}
		colours.Bias[c] = float32(bias)
	}
	return colours
}
