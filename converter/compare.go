package converter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// CompareOptions say how two networks are compared.
type CompareOptions struct {
	Input    calib.Input
	Threads  int // 0 means all processors
	Progress Progress
}

// Comparison is how far tensors of network B are from those of network A.
type Comparison struct {
	Pictures  int                `json:"pictures"`
	Unmatched int                `json:"unmatched"` // tensors of A without a counterpart in B
	Tensors   []TensorDifference `json:"tensors"`   // in the order in which A computes them
}

// TensorDifference compares a tensor over all pictures.
type TensorDifference struct {
	A        string `json:"a"`
	B        string `json:"b"`
	By       string `json:"matched_by"` // name, suffix or structure
	Operator string `json:"operator"`   // that computes it in A
	Output   bool   `json:"output,omitempty"`
	Elements int64  `json:"elements"`
	Channels int    `json:"channels,omitempty"` // that were compared, where one of the networks lost some
	Of       int    `json:"of,omitempty"`       // channels that the tensor had

	// Signal to quantization noise ratio, 10 log10(sum a^2 / sum (a-b)^2) in dB, at
	// most 200; and the same after b is brought to a by a factor and an offset for each
	// channel, which tells scales that moved into weights from noise.
	SQNR   float64 `json:"sqnr_db"`
	Scaled float64 `json:"sqnr_scaled_db"`

	MaxError float64 `json:"max_error"` // largest |a-b|
	Range    float64 `json:"range"`     // largest a less smallest a
	Problem  string  `json:"problem,omitempty"`
}

// maxSQNR stands for equality, -maxSQNR for values that are no numbers.
const maxSQNR = 200

// Bad reports whether a tensor is farther off than a bound in dB. Inside the network a
// factor and an offset for each channel are no error: weights behind them may undo them.
func (d *TensorDifference) Bad(bound float64) bool {
	return d.Problem == "" && d.SQNR < bound && (d.Output || d.Scaled < bound)
}

// FirstBad returns the first tensor below a bound in dB, or nil.
func (c *Comparison) FirstBad(bound float64) *TensorDifference {
	for i := range c.Tensors {
		if c.Tensors[i].Bad(bound) {
			return &c.Tensors[i]
		}
	}
	return nil
}

// Compare runs two networks side by side over a folder of pictures and compares the
// tensors that both have, of those that lost channels the ones that both still have. Tensors are compared as they come and not kept: memory is
// that of the two networks, and of tensors that B computes before A does.
func Compare(ctx context.Context, a, b *onnx.Model, dir string, o CompareOptions) (*Comparison, error) {
	images, err := calib.OpenDataset(dir, 1)
	if err != nil {
		return nil, err
	}
	matches, unmatched, sums, err := prepareComparison(a, b)
	if err != nil {
		return nil, err
	}
	var inA, inB []string
	for _, m := range matches {
		inA = append(inA, m.a)
		if !slices.Contains(inB, m.b) {
			inB = append(inB, m.b)
		}
	}
	first, err := Open(ctx, a, o.Input, runtime.Options{Threads: o.Threads, Observe: inA})
	if err != nil {
		return nil, fmt.Errorf("first network: %w", err)
	}
	second, err := Open(ctx, b, calib.Input{Range: first.Range, Enlarge: o.Input.Enlarge}, runtime.Options{Threads: o.Threads, Observe: inB})
	if err != nil {
		return nil, fmt.Errorf("second network: %w", err)
	}
	c := &Comparison{Unmatched: unmatched}
	total := len(images.Names())
	o.Progress.report("compare", 0, total)
	err = images.Each(ctx, func(_ string, image *imaging.Image) error {
		err := sideBySide(ctx, matches, sums,
			func(ctx context.Context, watch watcher) error { _, err := first.Run(ctx, image, watch); return err },
			func(ctx context.Context, watch watcher) error { _, err := second.Run(ctx, image, watch); return err })
		c.Pictures++
		o.Progress.report("compare", c.Pictures, total)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.finish(matches, sums)
	return c, nil
}

// prepareComparison matches the tensors of two models.
func prepareComparison(a, b *onnx.Model) ([]match, int, []*difference, error) {
	graphs := make([]*onnx.Graph, 2)
	for i, m := range []*onnx.Model{a, b} {
		m = m.Clone()
		if err := onnx.Inline(m); err != nil {
			return nil, 0, nil, err
		}
		if err := m.Graph.Sort(); err != nil {
			return nil, 0, nil, err
		}
		_ = onnx.Infer(m) // a shape that is not known is not matched by
		graphs[i] = m.Graph
	}
	matches, unmatched := matchTensors(graphs[0], graphs[1])
	if len(matches) == 0 {
		return nil, 0, nil, errors.New("the two networks have no tensor in common: they are not of the same network")
	}
	goneA, goneB := prunedChannels(a), prunedChannels(b)
	sums := make([]*difference, len(matches))
	for i, m := range matches {
		v := graphs[0].Value(m.a)
		sums[i] = &difference{operator: v.Producer.Op, output: v.IsOutput(), goneA: goneOf(goneA, m.a), goneB: goneOf(goneB, m.b)}
	}
	return matches, unmatched, sums, nil
}

// goneOf returns which channels a tensor lost, whatever a quantizer added to its name.
func goneOf(gone map[string][]int, name string) []int {
	if list, ok := gone[name]; ok {
		return list
	}
	return gone[withoutAffixes(name)]
}

func (c *Comparison) finish(matches []match, sums []*difference) {
	for i, m := range matches {
		c.Tensors = append(c.Tensors, sums[i].result(m))
	}
}

type watcher = func(name string, t *runtime.Tensor) error

// shown is a tensor that one of two runs shows; the run goes on when done is closed.
type shown struct {
	name string
	t    *runtime.Tensor
	done chan struct{}
}

// sideBySide runs two networks at once and brings equal tensors together. Both stop
// where they show one. A waits until B shows the counterpart; what B shows before that
// is copied, so that B can go on.
func sideBySide(ctx context.Context, matches []match, sums []*difference, runA, runB func(context.Context, watcher) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	index, readers := map[string]int{}, map[string]int{}
	for i, m := range matches {
		index[m.a] = i
		readers[m.b]++
	}
	var wait sync.WaitGroup
	var errs [2]error
	start := func(side int, run func(context.Context, watcher) error) chan shown {
		ch := make(chan shown)
		wait.Go(func() {
			defer close(ch)
			errs[side] = run(ctx, func(name string, t *runtime.Tensor) error {
				s := shown{name, t, make(chan struct{})}
				select {
				case ch <- s:
				case <-ctx.Done():
					return ctx.Err()
				}
				select {
				case <-s.done:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			if errs[side] != nil {
				cancel()
			}
		})
		return ch
	}
	chA, chB := start(0, runA), start(1, runB)
	kept := map[string]*runtime.Tensor{}
	for a := range chA {
		i := index[a.name]
		want := matches[i].b
		for kept[want] == nil {
			b, ok := <-chB
			if !ok {
				break
			}
			if b.name == want && readers[want] == 1 {
				sums[i].add(a.t, b.t)
				readers[want] = 0
				close(b.done)
				break
			}
			kept[b.name] = b.t.Clone()
			close(b.done)
		}
		if t := kept[want]; t != nil {
			sums[i].add(a.t, t)
			if readers[want]--; readers[want] == 0 {
				delete(kept, want)
			}
		}
		close(a.done)
	}
	for b := range chB {
		close(b.done)
	}
	wait.Wait()
	// The error that came first cancelled the other run.
	for side, who := range []string{"first network", "second network"} {
		if errs[side] != nil && !errors.Is(errs[side], context.Canceled) {
			return fmt.Errorf("%s: %w", who, errs[side])
		}
	}
	return errors.Join(errs[0], errs[1])
}

// difference adds up how far one tensor is off.
type difference struct {
	operator    string
	output      bool
	elements    int64
	least, most float64
	maxError    float64
	noise       float64 // sum of (a-b)^2
	channels    []moments
	problem     string

	goneA, goneB []int // channels that are not there any more
	had          int   // channels of a feature map before that
}

// moments are sums over one channel.
type moments struct{ n, a, b, aa, ab, bb float64 }

// add compares a tensor of one picture. Pairs that turn out not to be the same tensor
// say so in their result.
func (d *difference) add(a, b *runtime.Tensor) {
	x, errA := a.Float32s()
	y, errB := b.Float32s()
	switch {
	case d.problem != "":
		return
	case errA != nil || errB != nil:
		d.problem = fmt.Sprintf("types %s and %s", a.Type, b.Type)
		return
	}
	inA, inB := d.common(a.Shape, b.Shape)
	if inA == nil {
		d.problem = fmt.Sprintf("shapes %v and %v", a.Shape, b.Shape)
		return
	}
	channels, inner := len(inA), len(x)
	if isMap(a.Shape) {
		inner = len(x) / a.Shape[1]
	}
	if d.channels == nil {
		d.channels, d.least, d.most = make([]moments, channels), math.Inf(1), math.Inf(-1)
	}
	if len(d.channels) != channels {
		d.problem = fmt.Sprintf("%d channels in one picture, %d in another", len(d.channels), channels)
		return
	}
	d.elements += int64(channels * inner)
	for c := range channels {
		m := &d.channels[c]
		x, y := x[inA[c]*inner:][:inner], y[inB[c]*inner:][:inner]
		for k := range x {
			p, q := float64(x[k]), float64(y[k])
			e := p - q
			d.noise += e * e
			d.least, d.most, d.maxError = min(d.least, p), max(d.most, p), max(d.maxError, math.Abs(e))
			m.a, m.b, m.aa, m.ab, m.bb = m.a+p, m.b+q, m.aa+p*p, m.ab+p*q, m.bb+q*q
		}
		m.n += float64(inner)
	}
}

// common returns where tensors of two shapes have the channels that neither lost; none where
// the shapes are not of one tensor. All of what is no feature map of one picture is one channel.
func (d *difference) common(a, b []int) (inA, inB []int) {
	if !isMap(a) || !isMap(b) {
		if !slices.Equal(a, b) {
			return nil, nil
		}
		return []int{0}, []int{0}
	}
	d.had = a[1] + len(d.goneA)
	if d.had != b[1]+len(d.goneB) || !slices.Equal(a[2:], b[2:]) {
		return nil, nil
	}
	atA, atB := 0, 0
	for c := range d.had {
		isA, isB := !slices.Contains(d.goneA, c), !slices.Contains(d.goneB, c)
		if isA && isB {
			inA, inB = append(inA, atA), append(inB, atB)
		}
		if isA {
			atA++
		}
		if isB {
			atB++
		}
	}
	if atA != a[1] || atB != b[1] {
		return nil, nil // the lists are of other channels
	}
	return inA, inB
}

// isMap reports whether a shape is that of the feature map of one picture.
func isMap(shape []int) bool { return len(shape) == 4 && shape[0] == 1 && shape[1] > 0 }

func (d *difference) result(m match) TensorDifference {
	r := TensorDifference{A: m.a, B: m.b, By: m.by, Operator: d.operator, Output: d.output, Elements: d.elements, Problem: d.problem}
	if d.elements == 0 && d.problem == "" {
		r.Problem = "not computed"
	}
	if r.Problem != "" {
		return r
	}
	if len(d.goneA)+len(d.goneB) > 0 {
		r.Channels, r.Of = len(d.channels), d.had
	}
	signal, residual := 0.0, 0.0
	for _, c := range d.channels {
		signal += c.aa
		residual += c.unexplained()
	}
	r.SQNR, r.Scaled = decibels(signal, d.noise), decibels(signal, residual)
	r.MaxError, r.Range = finiteOr(d.maxError, math.MaxFloat64), finiteOr(d.most-d.least, 0)
	return r
}

// fewElements is how many a channel must have for a factor and an offset not to explain
// everything: those of global pooling have one a picture.
const fewElements = 64

// unexplained is the squared error that is left of a after the best factor and offset
// for b.
func (m *moments) unexplained() float64 {
	if m.n < fewElements {
		return m.aa - 2*m.ab + m.bb
	}
	varA, varB, cov := m.aa-m.a*m.a/m.n, m.bb-m.b*m.b/m.n, m.ab-m.a*m.b/m.n
	if varB <= 0 {
		return max(0, varA)
	}
	return max(0, varA-cov*cov/varB)
}

func decibels(signal, noise float64) float64 {
	switch {
	case math.IsNaN(noise) || math.IsInf(noise, 0) || math.IsNaN(signal) || math.IsInf(signal, 0):
		return -maxSQNR
	case noise == 0:
		return maxSQNR
	}
	return min(maxSQNR, max(-maxSQNR, 10*math.Log10(signal/noise)))
}

func finiteOr(x, instead float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return instead
	}
	return x
}
