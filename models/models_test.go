package models

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
)

// network is any of the three configurations.
type network interface {
	Build(Weights) (*onnx.Model, error)
}

func build(t *testing.T, n network, w Weights) *onnx.Model {
	t.Helper()
	m, err := n.Build(w)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func load(t *testing.T, path string) *onnx.Model {
	t.Helper()
	m, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func save(t *testing.T, m *onnx.Model) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// job and result are what testdata/compare.py reads and writes.
type job struct {
	Model     string `json:"model"`
	Reference string `json:"reference"`
	Channels  int    `json:"channels"`
}

type result struct {
	Shape []int   `json:"shape"`
	Diff  float64 `json:"diff"`
	Range float64 `json:"range"`
}

func compare(t *testing.T, jobs []job) []result {
	t.Helper()
	in, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testenv.Python(t), filepath.Join("testdata", "compare.py"))
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("compare.py: %v\n%s", err, stderr.String())
	}
	var results []result
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatal(err)
	}
	return results
}

// text writes a graph out in full but for the data of its initializers.
func text(g *onnx.Graph) string {
	names := func(vs []*onnx.Value) []string {
		var s []string
		for _, v := range vs {
			if v == nil {
				s = append(s, "")
				continue
			}
			s = append(s, v.Name)
		}
		return s
	}
	var b strings.Builder
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "%s %s %q -> %q", n.Name, n.Op, names(n.Inputs), names(n.Outputs))
		for _, a := range n.Attrs {
			fmt.Fprintf(&b, " %s=%v", a.Name, a.Value)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func ops(g *onnx.Graph) []string {
	var s []string
	for _, n := range g.Nodes {
		s = append(s, n.Op)
	}
	return s
}

// The builder gives the very graph that the exporter wrote for the same state
// dictionary: nodes, names, attributes and parameters.
func TestEDSRIsTheExportedGraph(t *testing.T) {
	dict, err := LoadStateDict(filepath.Join(testenv.Shared(t), "data", "builtin", "edsr_tiny_x2.npz"))
	if err != nil {
		t.Fatal(err)
	}
	built := build(t, EDSR{Scale: 2, Blocks: 8, Channels: 32}, dict)
	exported, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(built.Graph), text(exported.Graph); got != want {
		t.Errorf("built:\n%s\nexported:\n%s", got, want)
	}
	inits := exported.Graph.Initializers()
	if len(inits) != len(built.Graph.Initializers()) {
		t.Errorf("%d initializers, exported %d", len(built.Graph.Initializers()), len(inits))
	}
	for _, want := range inits {
		got := built.Graph.Value(want.Name)
		if got == nil || !slices.Equal(got.Const.Shape, want.Const.Shape) || !bytes.Equal(got.Const.Data, want.Const.Data) {
			t.Errorf("initializer %q differs", want.Name)
		}
	}
}

// Weights of networks that others trained, in graphs that others exported, give
// the same output in a graph from the builder.
func TestPouredWeights(t *testing.T) {
	tests := []struct {
		name    string
		network network
		prepare func(StateDict)
		replace map[string]string // operators of the exported graph that the builder writes otherwise
	}{
		{"EDSR_x2", EDSR{Scale: 2, Blocks: 8, Channels: 64, Mean: []float32{0.4488, 0.4371, 0.404}, Range: 2}, dcrToCRD,
			map[string]string{"Add pre_mean_shift_1": "Sub", "Mul _mulscalar1_43": "Div"}},
		{"SRResNet_x4", SRResNet{Scale: 4, Blocks: 8, Channels: 64, Signed: true}, nil, nil},
		{"RDN_x2", RDN{Scale: 2, Blocks: 10, Layers: 3, Channels: 64, Growth: 64, NearestUpsampler: true}, nil, nil},
	}
	var jobs []job
	for _, test := range tests {
		path := testenv.ModelNamed(t, test.name).Path
		exported := load(t, path)
		dict := pour(t, exported.Graph, build(t, test.network, Random(1)).Graph)
		if test.prepare != nil {
			test.prepare(dict)
		}
		built := build(t, test.network, dict)
		want := ops(exported.Graph)
		for i, n := range exported.Graph.Nodes {
			if op, ok := test.replace[n.Op+" "+n.Name]; ok {
				want[i] = op
			}
		}
		if got := ops(built.Graph); !slices.Equal(got, want) {
			t.Errorf("%s: operators\n%v, exported\n%v", test.name, got, want)
		}
		jobs = append(jobs, job{save(t, built), path, 3})
	}
	for i, r := range compare(t, jobs) {
		t.Logf("%s: largest difference %.2g in a range of %.2g", tests[i].name, r.Diff, r.Range)
		if r.Diff > 1e-5 || math.IsNaN(r.Diff) || r.Range < 0.1 {
			t.Errorf("%s: differs by %g in a range of %g", tests[i].name, r.Diff, r.Range)
		}
	}
}

// pour takes the parameters of src, layer by layer in the order of execution,
// under the names that dst has for them.
func pour(t *testing.T, src, dst *onnx.Graph) StateDict {
	t.Helper()
	layers := func(g *onnx.Graph) []*onnx.Value {
		var params []*onnx.Value
		for _, n := range g.Nodes {
			if n.Is("Conv", "BatchNormalization", "PRelu") {
				params = append(params, n.Inputs[1:]...)
			}
		}
		return params
	}
	from, to := layers(src), layers(dst)
	if len(from) != len(to) {
		t.Fatalf("%d parameters for %d places", len(from), len(to))
	}
	dict := StateDict{}
	for i, v := range from {
		p := v.Const.Clone()
		if len(p.Shape) == 3 { // a slope of PRelu, [c,1,1]
			p.Shape = p.Shape[:1]
		}
		dict[to[i].Name] = p
	}
	return dict
}

// dcrToCRD reorders the output channels of the upsampling convolution: MXNet's
// depth_to_space counts the position within a pixel before the channel, pixel
// shuffle after it.
func dcrToCRD(dict StateDict) {
	for _, name := range []string{"up.weight", "up.bias"} {
		old := dict[name]
		out := int(old.Shape[0])
		row, features := len(old.Data)/out, out/4
		data := make([]byte, len(old.Data))
		for c := range features {
			for at := range 4 {
				copy(data[(c*4+at)*row:][:row], old.Data[(at*features+c)*row:])
			}
		}
		dict[name] = onnx.NewTensor(onnx.Float, old.Shape, data)
	}
}

// Every kind of configuration passes ONNX's checker and shape inference, and
// gives an image of the right size.
func TestConfigurations(t *testing.T) {
	tests := []struct {
		network  network
		scale    int
		channels int
	}{
		{EDSR{Scale: 2, Blocks: 1, Channels: 4, InputChannels: 1}, 2, 1},
		{EDSR{Scale: 3, Blocks: 2, Channels: 4, ResScale: 0.1, Range: 255}, 3, 3},
		{EDSR{Scale: 4, Blocks: 1, Channels: 4, Mean: []float32{0.1, 0.2, 0.3}}, 4, 3},
		{EDSR{Scale: 8, Blocks: 1, Channels: 4}, 8, 3},
		{SRResNet{Scale: 2, Blocks: 2, Channels: 4, SharedSlope: true}, 2, 3},
		{SRResNet{Scale: 4, Blocks: 1, Channels: 4, InputChannels: 1, Signed: true}, 4, 1},
		{RDN{Scale: 2, Blocks: 2, Layers: 3, Channels: 4, Growth: 2}, 2, 3},
		{RDN{Scale: 3, Blocks: 1, Layers: 1, Channels: 4, Growth: 4, InputChannels: 1}, 3, 1},
		{RDN{Scale: 4, Blocks: 1, Layers: 2, Channels: 4, Growth: 4, NearestUpsampler: true}, 4, 3},
	}
	var jobs []job
	for _, test := range tests {
		jobs = append(jobs, job{save(t, build(t, test.network, Random(3))), "", test.channels})
	}
	for i, r := range compare(t, jobs) {
		test := tests[i]
		if want := []int{2, test.channels, 14 * test.scale, 11 * test.scale}; !slices.Equal(r.Shape, want) {
			t.Errorf("%T%+v: output %v, want %v", test.network, test.network, r.Shape, want)
		}
		if r.Range == 0 || math.IsNaN(r.Range) {
			t.Errorf("%T%+v: output range %v", test.network, test.network, r.Range)
		}
	}
}

func TestNodeNames(t *testing.T) {
	m := build(t, EDSR{Scale: 2, Blocks: 1, Channels: 2, Mean: []float32{1, 2, 3}, ResScale: 0.5}, Random(1))
	var names []string
	for _, n := range m.Graph.Nodes {
		names = append(names, n.Name)
	}
	want := []string{"/Sub", "/head/Conv", "/body/body.0/conv1/Conv", "/body/body.0/relu/Relu", "/body/body.0/conv2/Conv",
		"/body/body.0/Mul", "/body/body.0/Add", "/body_end/Conv", "/Add", "/up/Conv", "/ps/DepthToSpace", "/tail/Conv", "/Add_1"}
	if !slices.Equal(names, want) {
		t.Errorf("got  %q\nwant %q", names, want)
	}
	if got := m.Graph.Outputs[0].Type.String(); got != "float[n,3,2*h,2*w]" {
		t.Errorf("output is %s", got)
	}
}

func TestRandomWeights(t *testing.T) {
	config := EDSR{Scale: 2, Blocks: 2, Channels: 32}
	encode := func(seed uint64) []byte {
		data, err := build(t, config, Random(seed)).Encode()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	first := encode(1)
	if !bytes.Equal(first, encode(1)) {
		t.Error("the same seed gives another network")
	}
	if bytes.Equal(first, encode(2)) {
		t.Error("another seed gives the same network")
	}
	m := build(t, config, Random(1))
	values, err := m.Graph.Value("body.0.conv1.weight").Const.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	var sum, squares float64
	for _, v := range values {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	n := float64(len(values))
	mean, sigma, want := sum/n, math.Sqrt(squares/n), math.Sqrt(2./(32*9))
	if math.Abs(mean) > want/20 || math.Abs(sigma/want-1) > 0.03 {
		t.Errorf("mean %g, deviation %g, want 0, %g", mean, sigma, want)
	}
}

func TestBadConfigurations(t *testing.T) {
	good := func() StateDict {
		dict := StateDict{}
		m := build(t, EDSR{Scale: 2, Blocks: 1, Channels: 2}, Random(1))
		for _, v := range m.Graph.Initializers() {
			dict[v.Name] = v.Const
		}
		return dict
	}
	with := func(change func(StateDict)) StateDict {
		d := good()
		change(d)
		return d
	}
	edsr := EDSR{Scale: 2, Blocks: 1, Channels: 2}
	build(t, edsr, good())
	build(t, edsr, with(func(d StateDict) { d["bn.num_batches_tracked"] = onnx.Int64s(1) }))
	nan := float32(math.NaN())
	tests := []struct {
		network network
		weights Weights
		message string
	}{
		{EDSR{Scale: 5, Blocks: 1, Channels: 1}, Random(1), "scale is 5"},
		{EDSR{Scale: 2, Blocks: 0, Channels: 1}, Random(1), "blocks is 0"},
		{EDSR{Scale: 2, Blocks: 1, Channels: 1 << 30}, Random(1), "channels is 1073741824"},
		{EDSR{Scale: 2, Blocks: 1, Channels: 1, Mean: []float32{1}}, Random(1), "1 means for 3"},
		{EDSR{Scale: 2, Blocks: 1, Channels: 1, Range: nan}, Random(1), "must be finite"},
		{SRResNet{Scale: 2, Blocks: 1, Channels: -1}, Random(1), "channels is -1"},
		{RDN{Scale: 2, Blocks: 1, Channels: 1, Growth: 1}, Random(1), "layers is 0"},
		{RDN{Scale: 2, Blocks: 256, Layers: 64, Channels: 4096, Growth: 1024}, huge{}, "more than an ONNX file holds"},
		{edsr, with(func(d StateDict) { delete(d, "up.bias") }), `no "up.bias"`},
		{edsr, with(func(d StateDict) { d["head.bias"] = onnx.Floats([]int64{3}, 1, 2, 3) }), `"head.bias" is [3], the configuration needs [2]`},
		{edsr, with(func(d StateDict) { d["head.bias"] = onnx.Floats([]int64{2}, 1) }), `"head.bias"`},
		{edsr, with(func(d StateDict) { d["head.bias"] = onnx.Int64s(1, 2) }), "is int64, not float"},
		{edsr, with(func(d StateDict) { d["head.bias"] = onnx.Floats([]int64{2}, 1, nan) }), `"head.bias": element 1 is NaN`},
		{edsr, with(func(d StateDict) { d["body.1.conv1.bias"] = onnx.Floats([]int64{2}, 1, 2) }), `"body.1.conv1.bias"`},
	}
	for _, test := range tests {
		_, err := test.network.Build(test.weights)
		if err == nil || !strings.Contains(err.Error(), test.message) {
			t.Errorf("error %v, want one with %q", err, test.message)
		}
	}
}

// huge gives parameters of any size without their memory.
type huge struct{}

func (huge) parameter(p parameter) (*onnx.Tensor, error) {
	return &onnx.Tensor{Type: onnx.Float, Shape: p.shape}, nil
}

func TestBuiltin(t *testing.T) {
	m, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	if in := m.Graph.Inputs[0].Type.String(); in != "float[n,3,h,w]" {
		t.Errorf("input is %s", in)
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	data, err := builtin.ReadFile("builtin/edsr_tiny_x2.onnx")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	r := compare(t, []job{{path, "", 3}})
	if want := []int{2, 3, 28, 22}; !slices.Equal(r[0].Shape, want) {
		t.Errorf("output %v, want %v", r[0].Shape, want)
	}
}
