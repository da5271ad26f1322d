//go:build runtimes && unix

package interop

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/bench"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/peer"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// column is a runtime in one of its settings.
type column struct {
	peer.Runtime
	level   string // of ONNX Runtime's optimizations
	most    int    // largest height and width of its input
	untimed bool
	process *peer.Process // nil when it cannot be had
	missing error
}

// columns are the runtimes of the matrix, newest ONNX Runtime first. The slow ones
// see a part of the picture.
func columns() []*column {
	const whole, part = 128, 64
	newest, peers := peer.Environment(".venv"), peer.Environment(".venv-peers")
	return []*column{
		{Runtime: peer.Runtime{Name: "ort", Engine: "ort", Python: newest}, most: whole},
		{Runtime: peer.Runtime{Name: "ort extended", Engine: "ort", Python: newest}, level: "extended", most: whole, untimed: true},
		{Runtime: peer.Runtime{Name: "ort disabled", Engine: "ort", Python: newest}, level: "disabled", most: whole, untimed: true},
		{Runtime: peer.Runtime{Name: "ort 1.20", Engine: "ort", Python: peer.Environment(".venv-ort120")}, most: whole},
		{Runtime: peer.Runtime{Name: "openvino", Engine: "openvino", Python: peers}, most: whole},
		{Runtime: peer.Runtime{Name: "tract", Engine: "tract", Python: peers}, most: part},
		{Runtime: peer.Runtime{Name: "reference", Engine: "reference", Python: newest}, most: 32, untimed: true},
		{Runtime: peer.Runtime{Name: "web", Engine: "web"}, most: part},
	}
}

// form is a way to write a network. Runtimes that a form is not made for are tried
// too: what they say is part of the result.
type form struct {
	name     string
	dynamic  bool           // has the statistics of each picture: one value on a border of two levels changes all that follow
	runtimes *regexp.Regexp // that must load it and agree
	make     func(*onnx.Model, *calib.Dataset) (*onnx.Model, error)
}

// forms are what the program emits, and the float network first.
var forms = []form{
	{"float", false, everywhere, func(m *onnx.Model, _ *calib.Dataset) (*onnx.Model, error) { return m, nil }},
	{"onnxruntime 8 bits", false, everywhere, static("onnxruntime", 8)},
	{"onnxruntime 4 bits", false, regexp.MustCompile("^(ort.*|reference|web)$"), static("onnxruntime", 4)},
	{"openvino 8 bits", false, everywhere, static("openvino", 8)},
	{"tensorrt 8 bits", false, regexp.MustCompile("^(ort.*|tract|reference|web)$"), static("tensorrt", 8)}, // TensorRT itself wants a GPU
	{"web 8 bits", false, everywhere, static("web", 8)},
	{"portable 8 bits", true, functions, dynamic(8)},
	{"portable 4 bits", true, regexp.MustCompile("^(ort|ort extended|ort disabled|reference|web)$"), dynamic(4)},
	{"portable 4 bits opset 18 inlined", true, everywhere, inlined(4, 18)},
	{"storage 4 bits", false, regexp.MustCompile("^(ort.*|reference|web)$"), static("storage", 4)},
	{"storage 2 bits", false, regexp.MustCompile("^(ort|ort extended|ort disabled|reference|web)$"), static("storage", 2)},
}

// limit is what a runtime is known not to run, whatever the form of the network. A cell
// it applies to must fail, in these words where the form must load there: once it does not, the limit goes.
type limit struct {
	runtime string
	applies func(*onnx.Model) bool
	words   *regexp.Regexp
}

var limits = []limit{
	// tract 0.23.9, also where its input is given fixed sizes but values inside have symbolic ones. It
	// takes more than five minutes to get there where functions are inlined (RFDN_x4).
	{"tract", resizesToComputed, regexp.MustCompile(`Resize[^"]*Undetermined symbol|no answer in`)},
}

// resizesToComputed tells whether a Resize has sizes that come from another tensor's.
func resizesToComputed(m *onnx.Model) bool {
	return slices.ContainsFunc(m.Graph.Nodes, func(n *onnx.Node) bool {
		return n.Is("Resize") && n.Input(3) != nil && n.Inputs[3].Const == nil
	})
}

var (
	everywhere = regexp.MustCompile("")
	functions  = regexp.MustCompile("^(ort.*|reference|web)$") // know model-local functions
)

// static is the form for a target.
func static(name string, bits int) func(*onnx.Model, *calib.Dataset) (*onnx.Model, error) {
	o := settings(bits, passes.Calibrated)
	o.Mode, o.Target = target.Static, name
	return emit(o)
}

// dynamic is the form that daq quantize writes unless told otherwise.
func dynamic(bits int) func(*onnx.Model, *calib.Dataset) (*onnx.Model, error) {
	return emit(settings(bits, passes.Calibrated))
}

func inlined(bits int, opset int64) func(*onnx.Model, *calib.Dataset) (*onnx.Model, error) {
	o := settings(bits, passes.Calibrated)
	o.Opset, o.Inline = opset, true
	return emit(o)
}

func emit(o converter.QuantizeOptions) func(*onnx.Model, *calib.Dataset) (*onnx.Model, error) {
	return func(m *onnx.Model, images *calib.Dataset) (*onnx.Model, error) {
		result, err := converter.Quantize(context.Background(), m, images, o)
		if err != nil {
			return nil, err
		}
		return result.Model, nil
	}
}

// cell is one form of one network in one runtime.
type cell struct {
	Network      string  `json:"network"`
	Form         string  `json:"form"`
	Runtime      string  `json:"runtime"`
	Error        string  `json:"error,omitempty"` // why it did not load or run; then nothing below is known
	Levels       float64 `json:"levels"`          // largest difference to our runtime, in levels of 8 bits
	PSNR         float64 `json:"psnr_y"`          // on one picture of Set5, or the part that this runtime sees
	OurPSNR      float64 `json:"our_psnr_y"`      // of our runtime on the same
	Agrees       bool    `json:"agrees"`
	Integer      int     `json:"integer_operators"` // -1: the runtime does not tell
	IntegerConvs int     `json:"integer_convolutions"`
	Convs        int     `json:"convolutions"`
	MS           float64 `json:"ms"`       // median of processor time; 0: not measured
	Speed        float64 `json:"speed"`    // time of the float network over this, of runs in turns
	Required     bool    `json:"required"` // the form is made for this runtime
	Limit        bool    `json:"limit"`    // it is known that this runtime does not run it
}

// TestRuntimes runs every network in every form in every runtime. A cell fails when
// a runtime that a form is made for does not load it or disagrees with ours.
func TestRuntimes(t *testing.T) {
	m := &matrix{T: t, dir: *outFlag, pictures: filepath.Join(testenv.Shared(t), "data", "images")}
	if m.dir == "" {
		m.dir = t.TempDir()
	}
	networks, wanted, chosen := regexp.MustCompile(*networksFlag), regexp.MustCompile(*formsFlag), regexp.MustCompile(*runtimesFlag)
	for _, c := range columns() {
		if chosen.MatchString(c.Name) {
			m.columns = append(m.columns, c)
			m.start(c)
		}
	}
	for _, f := range forms {
		if f.name == "float" || wanted.MatchString(f.name) {
			m.forms = append(m.forms, f)
		}
	}
	for _, net := range append([]testenv.Model{builtin()}, testenv.Models(t)...) {
		if networks.MatchString(net.Name) {
			m.networks = append(m.networks, net.Name)
			m.network(net)
			m.write() // what there is so far
		}
	}
	for _, c := range m.columns {
		if c.process != nil {
			if _, err := c.process.End(); err != nil {
				t.Error(err)
			}
		}
	}
	fmt.Printf("\n%s", m.text())
}

// matrix is one run of all networks.
type matrix struct {
	*testing.T
	dir      string
	pictures string
	columns  []*column
	forms    []form
	networks []string
	cells    []cell
}

// start starts a runtime, also again after it has crashed.
func (m *matrix) start(c *column) {
	if c.process, c.missing = peer.Start(c.Runtime); c.missing == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		m.Error(c.missing)
	} else {
		m.Logf("left out: %v", c.missing)
	}
}

// network fills the rows of one network.
func (m *matrix) network(net testenv.Model) {
	original := load(m.T, net)
	view := open(m.T, net)
	images := calibration(m.T, view)
	p := m.picture(view)
	var graphs []graph
	for _, f := range m.forms {
		g := graph{form: f, path: filepath.Join(m.dir, "interop", net.Name+" "+f.name+".onnx"), outputs: map[int]*runtime.Tensor{}}
		var err error
		if g.model, err = f.make(original, images); err != nil {
			m.Errorf("%s, %s: %v", net.Name, f.name, err)
			continue
		}
		if g.program, err = runtime.Compile(g.model, runtime.Options{Strict: true}); err != nil {
			m.Errorf("%s, %s: %v", net.Name, f.name, err)
			continue
		}
		if f.name == "float" {
			g.path = net.Path
		} else if err := save(g.model, g.path); err != nil {
			m.Fatal(err)
		}
		graphs = append(graphs, g)
	}
	for _, c := range m.columns {
		if c.process == nil {
			continue
		}
		var float *peer.Session
		for i := range graphs {
			process := c.process
			result, session := m.cell(net, p, &graphs[i], c, float, &graphs[0])
			m.cells = append(m.cells, result)
			if i == 0 {
				float = session
			} else if c.process != process { // it crashed, and with it the float network
				_, float = m.cell(net, p, &graphs[0], c, nil, &graphs[0])
			}
			m.Logf("%s, %s, %s: %s", net.Name, result.Form, c.Name, result.line())
		}
		if float != nil && c.process != nil {
			if err := float.Close(); err != nil {
				m.Error(err)
			}
		}
	}
}

// graph is a network in one form, and what our runtime makes of the picture.
type graph struct {
	form    form
	model   *onnx.Model
	program *runtime.Program
	path    string
	outputs map[int]*runtime.Tensor // by column.most
}

// cell runs one form in one runtime, in turns with the float network, whose session
// is kept by the caller.
func (m *matrix) cell(net testenv.Model, p photo, g *graph, c *column, float *peer.Session, floatGraph *graph) (cell, *peer.Session) {
	result := cell{Network: net.Name, Form: g.form.name, Runtime: c.Name, Integer: -1, Required: g.form.runtimes.MatchString(c.Name)}
	known := slices.IndexFunc(limits, func(l limit) bool { return l.runtime == c.Name && l.applies(g.model) })
	result.Limit = known >= 0
	fail := func(err error) (cell, *peer.Session) {
		result.Error = err.Error()
		switch {
		case result.Required && result.Limit && !limits[known].words.MatchString(strings.Join(strings.Fields(result.Error), " ")):
			m.Errorf("%s, %s: %s fails otherwise than known: %v", net.Name, g.form.name, c.Name, err)
		case result.Required && !result.Limit:
			m.Errorf("%s, %s: %v", net.Name, g.form.name, err)
		}
		if errors.Is(err, peer.ErrDead) {
			m.start(c)
		}
		return result, nil
	}
	if c.process == nil {
		return fail(c.missing)
	}
	part := p.part(m.T, c.most)
	session, err := c.process.Open(g.path, part.input, peer.Options{Level: c.level})
	if err != nil {
		return fail(err)
	}
	if result.Limit {
		m.Errorf("%s, %s: %s runs what it is known not to run: remove the limit", net.Name, g.form.name, c.Name)
	}
	ours, reference := m.ours(g, part, c.most), m.ours(floatGraph, part, c.most)
	result.Levels = largest(ours, session.Output) / float64(net.Range) * 255
	result.PSNR, result.OurPSNR = part.psnr(m.T, session.Output), part.psnr(m.T, ours)
	result.Agrees = agrees(ours, session.Output, reference, result.Levels)
	if !result.Agrees && result.Required {
		m.Errorf("%s, %s: %s differs from ours by %.2f levels of 8 bits, PSNR-Y %.2f and %.2f dB", net.Name, g.form.name, c.Name, result.Levels, result.PSNR, result.OurPSNR)
	}
	if len(session.Operators) > 0 {
		result.Integer = session.Operators.Integer()
		result.IntegerConvs, result.Convs = session.Operators.Convolutions()
	}
	if !c.untimed {
		if result.MS, result.Speed, err = turns(session, float); err != nil {
			return fail(err)
		}
	}
	if g == floatGraph {
		return result, session
	}
	if err := session.Close(); err != nil {
		return fail(err)
	}
	return result, nil
}

// agrees tells whether two outputs are equal but for values on the border of two
// levels, which either program may round either way: none differs by more than a
// level of 8 bits, or they are equally far from the float network.
func agrees(ours, theirs, float *runtime.Tensor, levels float64) bool {
	if levels <= 1 {
		return true
	}
	return math.Abs(psnr(ours, float)-psnr(theirs, float)) <= 0.5
}

// ours returns what our runtime makes of the picture.
func (m *matrix) ours(g *graph, part photo, most int) *runtime.Tensor {
	if y, ok := g.outputs[most]; ok {
		return y
	}
	results, err := g.program.Run(context.Background(), map[string]*runtime.Tensor{g.program.Inputs()[0]: part.input}, nil)
	if err != nil {
		m.Fatal(err)
	}
	y := results[g.program.Outputs()[0]]
	g.outputs[most] = y
	return y
}

// turns runs a network and the float network in turns and returns the median of
// the processor time in ms and how many times faster than float that is. On one
// thread and an idle machine processor time is the time that passes.
func turns(s, float *peer.Session) (ms, speed float64, err error) {
	var times, floats []float64
	for start := time.Now(); len(times) < 2 || len(times) < 7 && time.Since(start) < 500*time.Millisecond; {
		if float != nil {
			_, cpu, err := float.Run()
			if err != nil {
				return 0, 0, err
			}
			floats = append(floats, 1000*cpu.Seconds())
		}
		_, cpu, err := s.Run()
		if err != nil {
			return 0, 0, err
		}
		times = append(times, 1000*cpu.Seconds())
	}
	if float == nil {
		return bench.Median(times), 0, nil
	}
	return bench.Median(times), bench.RatioOf(floats, times).Median, nil
}

// calibration returns the middles of a few photographs: what is asked here is
// whether runtimes agree.
func calibration(t *testing.T, view *calib.Network) *calib.Dataset {
	t.Helper()
	images, err := calib.OpenDataset(photos(t, view, 3, 96, 1).dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// photo is a picture as a network sees it, and the large original.
type photo struct {
	view     *calib.Network
	low      *imaging.Image
	original *imaging.Image
	input    *runtime.Tensor
}

// picture returns a picture of Set5.
func (m *matrix) picture(view *calib.Network) photo {
	name := "butterfly.png"
	low, err := imaging.ReadFile(filepath.Join(m.pictures, "Set5", fmt.Sprintf("LRx%d", view.Scale), name))
	if err != nil {
		m.Fatal(err)
	}
	original, err := imaging.ReadFile(filepath.Join(m.pictures, "Set5", "HR", name))
	if err != nil {
		m.Fatal(err)
	}
	return photo{view: view, low: low, original: original}
}

// part returns the upper left corner of a picture, at most that large at the
// network's input.
func (p photo) part(t *testing.T, most int) photo {
	t.Helper()
	var err error
	most /= p.view.Enlarge
	w, h := min(most, p.low.Width), min(most, p.low.Height)
	if p.low, err = p.low.Crop(w, h); err != nil {
		t.Fatal(err)
	}
	if p.original, err = p.original.Crop(w*p.view.Scale, h*p.view.Scale); err != nil {
		t.Fatal(err)
	}
	if p.input, err = p.view.Tensor(p.low); err != nil {
		t.Fatal(err)
	}
	return p
}

// psnr compares a network's output with the original, on Y.
func (p photo) psnr(t *testing.T, y *runtime.Tensor) float64 {
	t.Helper()
	db, err := psnrY(p.view, y, p.original)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func largest(a, b *runtime.Tensor) float64 {
	x, y := a.Data.([]float32), b.Data.([]float32)
	if len(x) != len(y) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range x {
		d := math.Abs(float64(x[i]) - float64(y[i]))
		if !(d <= worst) { // also for NaN
			worst = d
		}
	}
	return worst
}
