// Package bench measures how long networks take in the runtime, layer by layer,
// and holds their arithmetic against what the processor can do.
package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/daq-sr/daq/internal/peak"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// Options say how networks are measured.
type Options struct {
	Height, Width int  // of inputs whose size is free; 0 means DefaultSize
	Threads       int  // 0 means one for each processor
	Runs          int  // measured runs of each network, at least 1
	Exact         bool // no integer kernels (runtime.Options)

	// Progress, if set, is told how many rounds of how many are done.
	Progress func(done, total int)
}

// DefaultSize is the height and width of inputs of free size.
const DefaultSize = 128

// Result is what was measured of one network. GMAC are 1e9 multiplications of the
// operators' definitions, so that fast algorithms and narrow integers may exceed
// the peak.
type Result struct {
	Inputs    []string  `json:"inputs"`     // such as "input float[1,3,128,128]"
	MedianMS  float64   `json:"median_ms"`  // of whole runs
	MinMS     float64   `json:"min_ms"`     // the fastest
	TimesMS   []float64 `json:"times_ms"`   // all, in the order of running
	PeakBytes int64     `json:"peak_bytes"` // most that the tensors of a run take at a time, without constants
	GMACs     float64   `json:"gmacs"`      // of one run
	Rate      float64   `json:"gmacs_per_s"`
	PeakShare float64   `json:"peak_share"`          // Rate over the peak of all threads
	Uncounted []string  `json:"uncounted,omitempty"` // nodes missing in GMACs: their sizes depend on data
	Layers    []Layer   `json:"layers"`              // in the order of execution
}

// Layer is one step of a network, with what the runtime has fused into it.
type Layer struct {
	Name      string  `json:"name"`
	Op        string  `json:"op"`
	MS        float64 `json:"ms"`    // median over the profiled runs
	GMACs     float64 `json:"gmacs"` // 0 for what does not multiply matrices
	Rate      float64 `json:"gmacs_per_s"`
	PeakShare float64 `json:"peak_share"`
}

// mostProfiled is how many of the rounds have a profiled run beside the measured
// one.
const mostProfiled = 5

// peakWindow is long enough for the peak to suffer, as the layers do, from what
// else the machine does.
const peakWindow = 10 * time.Millisecond

// Models runs networks in turn, A B A B, so that what else the machine does hits
// all of them alike. Each gets a run to warm up first; layers are timed in further
// runs, beside the measured ones. The second result is the FMA peak of all threads
// in GMAC/s, the median of short measurements between the runs.
func Models(ctx context.Context, models []*onnx.Model, o Options) ([]*Result, float64, error) {
	subjects := make([]*subject, len(models))
	for i, m := range models {
		s, err := prepare(m, o)
		if err != nil {
			return nil, 0, numbered(i, len(models), err)
		}
		if _, err := s.program.Run(ctx, s.inputs, nil); err != nil {
			return nil, 0, numbered(i, len(models), err)
		}
		subjects[i] = s
	}
	rounds := max(1, o.Runs)
	var peaks []float64
	for round := range rounds {
		for i, s := range subjects {
			peaks = append(peaks, peak.GMACs(s.threads, peakWindow))
			if err := s.measure(ctx, round < mostProfiled); err != nil {
				return nil, 0, numbered(i, len(models), err)
			}
		}
		if o.Progress != nil {
			o.Progress(round+1, rounds)
		}
	}
	most := Median(peaks)
	results := make([]*Result, len(subjects))
	for i, s := range subjects {
		results[i] = s.result(most)
	}
	return results, most, nil
}

// ModelError says which of several networks an error is about.
type ModelError struct {
	Index int
	Err   error
}

func (e *ModelError) Error() string { return fmt.Sprintf("network %d: %v", e.Index+1, e.Err) }

func (e *ModelError) Unwrap() error { return e.Err }

func numbered(i, n int, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || n == 1 {
		return err
	}
	return &ModelError{i, err}
}

// Ratio compares the times of two networks.
type Ratio struct {
	Median float64 `json:"median"` // median time of the first over that of the second
	Low    float64 `json:"low"`    // lower and upper quartile of the ratios of runs
	High   float64 `json:"high"`   // beside each other
}

// RatioOf returns by how much a takes longer than b; both are times of
// interleaved runs, equally many.
func RatioOf(a, b []float64) Ratio {
	pairs := make([]float64, len(a))
	for i := range a {
		pairs[i] = a[i] / b[i]
	}
	return Ratio{Median(a) / Median(b), quantile(pairs, 0.25), quantile(pairs, 0.75)}
}

// Median returns the middle value, between two the mean of them. values must not
// be empty and keep their order.
func Median(values []float64) float64 { return quantile(values, 0.5) }

// quantile interpolates between the two nearest of the sorted values.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	i := min(int(at), len(sorted)-1)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// subject is a network being measured.
type subject struct {
	program *runtime.Program
	inputs  map[string]*runtime.Tensor
	threads int
	work    *work

	shown  []string
	times  []float64 // ms
	steps  []runtime.StepTime
	layers [][]float64 // by step: ms in each profiled run
}

func (s *subject) measure(ctx context.Context, profiled bool) error {
	start := time.Now()
	if _, err := s.program.Run(ctx, s.inputs, nil); err != nil {
		return err
	}
	s.times = append(s.times, ms(time.Since(start)))
	if !profiled {
		return nil
	}
	steps, err := s.program.Profile(ctx, s.inputs)
	if err != nil {
		return err
	}
	if s.steps == nil {
		s.steps, s.layers = steps, make([][]float64, len(steps))
	}
	for i, st := range steps {
		s.layers[i] = append(s.layers[i], ms(st.Time))
	}
	return nil
}

func (s *subject) result(peak float64) *Result {
	r := &Result{
		Inputs:    s.shown,
		MedianMS:  Median(s.times),
		MinMS:     slices.Min(s.times),
		TimesMS:   s.times,
		PeakBytes: s.program.PeakBytes(),
		GMACs:     s.work.total / 1e9,
		Uncounted: s.work.uncounted,
		Layers:    make([]Layer, len(s.steps)),
	}
	r.Rate = r.GMACs / r.MedianMS * 1000
	r.PeakShare = r.Rate / peak
	for i, st := range s.steps {
		l := Layer{Name: st.Node, Op: st.Op, MS: Median(s.layers[i]), GMACs: s.work.take(st.Node) / 1e9}
		if st.Front != "" {
			l.Name = st.Front + ", " + st.Node
			l.GMACs += s.work.take(st.Front) / 1e9
		}
		if l.GMACs > 0 && l.MS > 0 {
			l.Rate = l.GMACs / l.MS * 1000
			l.PeakShare = l.Rate / peak
		}
		r.Layers[i] = l
	}
	return r
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
