package converter

import (
	"context"
	"fmt"

	"gonum.org/v1/gonum/mat"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

const (
	// coloursPixels is how much of the calibration pictures colours are compared on.
	coloursPixels = 1 << 18
	// A correction is worth its nodes where colours move by more than leastShift of white,
	// root mean square, and no more than mostLeft of it stays in pictures it was not fitted to.
	leastShift, mostLeft = 0.02 / 255, 0.5
	// coloursRidge is the share of its own variance that is added to that of each regressor.
	coloursRidge = 0.01
)

// colourMeans are the means of every channel in a piece of a picture: of what is read
// and of what both networks make of it.
type colourMeans struct{ in, float, quantized []float64 }

// holdColours makes the network correct the means of colours that quantization moves,
// if they can be told from the means of the picture that is read and of the one that is made.
func (q *Quantized) holdColours(ctx context.Context, quantized *onnx.Model, images *calib.Dataset, o QuantizeOptions) error {
	if _, y := passes.ColoursOf(quantized.Graph); y == nil || images == nil || q.Plan.Rule != passes.Calibrated {
		return nil
	}
	pictures, err := q.colourMeans(ctx, quantized, images.Sample(coloursPixels), o)
	if err != nil || len(pictures) < 2 {
		return err
	}
	before, left, count := 0.0, 0.0, 0
	for i, pieces := range pictures {
		var others []colourMeans
		for j, more := range pictures {
			if j != i {
				others = append(others, more...)
			}
		}
		c := fitColours(others)
		for _, m := range pieces {
			for k := range m.in {
				shift := m.quantized[k] - m.float[k]
				corrected := shift + c.At(m.quantized, m.in, k)
				before, left, count = before+shift*shift, left+corrected*corrected, count+1
			}
		}
	}
	least := leastShift * float64(q.Network.Range)
	if before < least*least*float64(count) || left > mostLeft*mostLeft*before {
		return nil
	}
	var all []colourMeans
	for _, pieces := range pictures {
		all = append(all, pieces...)
	}
	return passes.HoldColours(quantized.Graph, fitColours(all))
}

// colourMeans runs both networks over a sample; what it returns is grouped by picture.
func (q *Quantized) colourMeans(ctx context.Context, quantized *onnx.Model, sample *calib.Dataset, o QuantizeOptions) ([][]colourMeans, error) {
	float, err := outputMeans(ctx, q.Model, o.Threads)
	if err != nil {
		return nil, err
	}
	coded, err := outputMeans(ctx, quantized, o.Threads)
	if err != nil {
		return nil, err
	}
	var pictures [][]colourMeans
	last, done := "", 0
	err = sample.Each(ctx, func(name string, piece *imaging.Image) error {
		o.Progress.report("colours", done, len(sample.Names()))
		done++
		x, err := q.Network.Tensor(piece)
		if err != nil {
			return err
		}
		m := colourMeans{in: channelMeans(x)}
		if m.float, err = float(x); err != nil {
			return fmt.Errorf("float network: %w", err)
		}
		if m.quantized, err = coded(x); err != nil {
			return fmt.Errorf("quantized network: %w", err)
		}
		if name != last {
			pictures, last = append(pictures, nil), name
		}
		pictures[len(pictures)-1] = append(pictures[len(pictures)-1], m)
		return nil
	})
	return pictures, err
}

// outputMeans returns what gives the means of the output that is to be corrected.
func outputMeans(ctx context.Context, m *onnx.Model, threads int) (func(x *runtime.Tensor) ([]float64, error), error) {
	_, y := passes.ColoursOf(m.Graph)
	program, err := runtime.Compile(m, runtime.Options{Threads: threads, Observe: []string{y.Name}})
	if err != nil {
		return nil, err
	}
	return func(x *runtime.Tensor) (means []float64, err error) {
		_, err = program.Run(ctx, map[string]*runtime.Tensor{program.Inputs()[0]: x}, func(_ string, t *runtime.Tensor) error {
			means = channelMeans(t)
			return nil
		})
		return means, err
	}, nil
}

// channelMeans returns the mean of every channel of a tensor [1,C,H,W].
func channelMeans(t *runtime.Tensor) []float64 {
	data, means := t.Data.([]float32), make([]float64, t.Shape[1])
	hw := t.Shape[2] * t.Shape[3]
	for c := range means {
		for _, v := range data[c*hw : (c+1)*hw] {
			means[c] += float64(v) / float64(hw)
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
