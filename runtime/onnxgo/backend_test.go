package onnxgo

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	decoder "github.com/owulveryck/onnx-go"
	"gorgonia.org/tensor"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// file is a network and its bytes.
type file struct {
	name     string
	data     []byte
	channels int
}

// files returns the real networks and the one that ships.
func files(t *testing.T) []file {
	t.Helper()
	read := func(name, path string, channels int) file {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return file{name, data, channels}
	}
	list := []file{read("edsr_tiny_x2", filepath.Join(testenv.Root(), "models", "builtin", "edsr_tiny_x2.onnx"), 3)}
	for _, m := range testenv.Models(t) {
		channels := 3
		if m.Y {
			channels = 1
		}
		list = append(list, read(m.Name, m.Path, channels))
	}
	return list
}

// decode lets onnx-go decode a file of opset 17 into a new backend.
func decode(t *testing.T, data []byte) (*Backend, *decoder.Model) {
	t.Helper()
	b := New(17)
	m := decoder.NewModel(b)
	if err := m.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	return b, m
}

func parse(t testing.TB, text string) []byte {
	t.Helper()
	m, err := onnx.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// describe writes a graph out but for node names, in an order of attributes
// and initializers that does not matter to ONNX.
func describe(g *onnx.Graph) string {
	names := func(vs []*onnx.Value) []string {
		s := []string{}
		for _, v := range vs {
			if v == nil {
				s = append(s, "")
				continue
			}
			s = append(s, v.Name)
		}
		return s
	}
	tensor := func(t *onnx.Tensor) string { return fmt.Sprintf("%s%v %x", t.Type, t.Shape, t.Data) }
	var b strings.Builder
	for _, n := range g.Nodes {
		var attrs []string
		for _, a := range n.Attrs {
			text := fmt.Sprintf("%s=%v", a.Name, a.Value)
			if t, ok := a.Value.(*onnx.Tensor); ok {
				text = a.Name + "=" + tensor(t)
			}
			attrs = append(attrs, text)
		}
		slices.Sort(attrs)
		fmt.Fprintf(&b, "%s %q -> %q %v\n", n.Op, names(n.Inputs), names(n.Outputs), attrs)
	}
	var inits []string
	for _, v := range g.Initializers() {
		inits = append(inits, v.Name+" "+tensor(v.Const))
	}
	slices.Sort(inits)
	fmt.Fprintf(&b, "%q -> %q\n%s", names(g.Inputs), names(g.Outputs), strings.Join(inits, "\n"))
	return b.String()
}

// What onnx-go decoded is, put together again, the graph of the file.
func TestRebuild(t *testing.T) {
	for _, f := range files(t) {
		t.Run(f.name, func(t *testing.T) {
			want, err := onnx.Decode(f.data)
			if err != nil {
				t.Fatal(err)
			}
			want.Graph.DropUnused()
			b, _ := decode(t, f.data)
			r, err := b.rebuild()
			if err != nil {
				t.Fatal(err)
			}
			got, expected := describe(r.graph), describe(want.Graph)
			if got == expected {
				return
			}
			g, w := strings.Split(got, "\n"), strings.Split(expected, "\n")
			for i := range min(len(g), len(w)) {
				if g[i] != w[i] {
					t.Fatalf("line %d of %d, %d is\n%.300s, in the file\n%.300s", i, len(g), len(w), g[i], w[i])
				}
			}
			t.Fatalf("%d lines, in the file %d", len(g), len(w))
		})
	}
}

// Every network gives bit for bit what the runtime gives for the same file.
func TestRun(t *testing.T) {
	for _, f := range files(t) {
		t.Run(f.name, func(t *testing.T) {
			direct, err := onnx.Decode(f.data)
			if err != nil {
				t.Fatal(err)
			}
			program, err := runtime.Compile(direct, runtime.Options{Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			m, b, err := Load(f.data)
			if err != nil {
				t.Fatal(err)
			}
			b.Threads = 2
			for _, size := range [][2]int{{24, 20}, {17, 31}} { // any size, one program
				shape := []int{1, f.channels, size[0], size[1]}
				image := noise(shape)
				x, err := runtime.Of(shape, image)
				if err != nil {
					t.Fatal(err)
				}
				want, err := program.Run(context.Background(), map[string]*runtime.Tensor{"input": x}, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := m.SetInput(0, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(slices.Clone(image)))); err != nil {
					t.Fatal(err)
				}
				if err := b.Run(); err != nil {
					t.Fatal(err)
				}
				outputs, err := m.GetOutputTensors()
				if err != nil {
					t.Fatal(err)
				}
				if len(outputs) != 1 {
					t.Fatalf("%d outputs", len(outputs))
				}
				if got := []int(outputs[0].Shape()); !slices.Equal(got, want["output"].Shape) {
					t.Fatalf("output is %v, from the runtime %v", got, want["output"].Shape)
				}
				if !slices.Equal(outputs[0].Data().([]float32), want["output"].Data.([]float32)) {
					t.Error("the output is not that of the runtime")
				}
			}
		})
	}
}

func noise(shape []int) []float32 {
	n := 1
	for _, d := range shape {
		n *= d
	}
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, n)
	for i := range x {
		x[i] = rng.Float32()
	}
	return x
}

func vector(values ...float32) tensor.Tensor {
	return tensor.New(tensor.WithShape(len(values)), tensor.WithBacking(values))
}

func run(t *testing.T, b *Backend, m *decoder.Model) [][]float32 {
	t.Helper()
	if err := b.Run(); err != nil {
		t.Fatal(err)
	}
	outputs, err := m.GetOutputTensors()
	if err != nil {
		t.Fatal(err)
	}
	var values [][]float32
	for _, o := range outputs {
		if o == nil {
			values = append(values, nil)
			continue
		}
		values = append(values, o.Data().([]float32))
	}
	return values
}

// One value read twice, inputs in an order that matters, an optional input
// left out, nodes in any order, several outputs.
func TestTopology(t *testing.T) {
	tests := []struct {
		text string
		want [][]float32
	}{
		{`<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float[n] y) { y = Mul(x, x) }`, [][]float32{{1, 4, 9, 16}}},
		{`<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float[n] y) <float[1] one = {1.0}> { y = Sub(one, x) }`, [][]float32{{0, -1, -2, -3}}},
		{`<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float[n] y) <float top = {2.0}> { y = Clip(x, , top) }`, [][]float32{{1, 2, 2, 2}}},
		{`<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float[n] a, float[n] b) { a, b = Split<axis = 0>(x) }`, [][]float32{{1, 2}, {3, 4}}},
		// The second output is read by another node too.
		{`<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float[n] a, float[n] b) { b = Neg(x)
		a = Relu(b) }`, [][]float32{{0, 0, 0, 0}, {-1, -2, -3, -4}}},
		{`<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float[n] y) { c = Constant<value = float[1] {3.0}>()
		d = Constant<value = float[1] {1.0}>()
		e = Mul(x, c)
		y = Add(e, d) }`, [][]float32{{4, 7, 10, 13}}},
	}
	for _, test := range tests {
		b, m := decode(t, parse(t, test.text))
		if err := m.SetInput(0, vector(1, 2, 3, 4)); err != nil {
			t.Fatal(err)
		}
		if got := run(t, b, m); !slices.EqualFunc(got, test.want, slices.Equal[[]float32]) {
			t.Errorf("%s\ngives %v, want %v", test.text, got, test.want)
		}
	}
}

// An output that is read and declared before the last ones is nil unless kept.
func TestKeep(t *testing.T) {
	data := parse(t, `<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float[n] a, float[n] b) { a = Neg(x)
		b = Abs(a) }`)
	for _, keep := range []bool{false, true} {
		b, m := decode(t, data)
		if keep {
			b.Keep = []string{"a"}
		}
		if err := m.SetInput(0, vector(1, 2)); err != nil {
			t.Fatal(err)
		}
		want := [][]float32{nil, {1, 2}}
		if keep {
			want[0] = []float32{-1, -2}
		}
		if got := run(t, b, m); !slices.EqualFunc(got, want, slices.Equal[[]float32]) {
			t.Errorf("keep %v: %v, want %v", keep, got, want)
		}
	}
}

// A constant that is changed after a run takes effect.
func TestChangedConstant(t *testing.T) {
	b, m := decode(t, parse(t, `<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float[n] y) <float[2] c = {1.0, 2.0}> { y = Add(x, c) }`))
	if err := m.SetInput(0, vector(1, 2)); err != nil {
		t.Fatal(err)
	}
	if got := run(t, b, m)[0]; !slices.Equal(got, []float32{2, 4}) {
		t.Errorf("%v before", got)
	}
	program := b.program
	if got := run(t, b, m)[0]; !slices.Equal(got, []float32{2, 4}) || b.program != program {
		t.Errorf("%v, or compiled again without need", got)
	}
	if err := b.SetInput("c", vector(10, 20)); err != nil {
		t.Fatal(err)
	}
	if got := run(t, b, m)[0]; !slices.Equal(got, []float32{11, 22}) {
		t.Errorf("%v after", got)
	}
}

// A transposed view is read in the order of its elements.
func TestView(t *testing.T) {
	b, m := decode(t, parse(t, `<ir_version: 8, opset_import: ["": 17]>
		g (float[h,w] x) => (float[h,w] y) { y = Neg(x) }`))
	x := tensor.New(tensor.WithShape(2, 3), tensor.WithBacking([]float32{1, 2, 3, 4, 5, 6}))
	if err := x.T(); err != nil {
		t.Fatal(err)
	}
	if err := m.SetInput(0, x); err != nil {
		t.Fatal(err)
	}
	if got := run(t, b, m)[0]; !slices.Equal(got, []float32{-1, -4, -2, -5, -3, -6}) {
		t.Errorf("got %v", got)
	}
}

// A file of IR version 3 lists its initializers among the graph inputs.
func TestInitializerAmongInputs(t *testing.T) {
	g := onnx.NewGraph("g")
	vec := onnx.Type{Elem: onnx.Float, Shape: onnx.Shape{onnx.Symbol("n")}}
	c, x := g.AddInput("c", vec), g.AddInput("x", vec)
	c.SetConst(onnx.Floats([]int64{2}, 10, 20))
	n := g.NewNode("Sub", []*onnx.Value{c, x}, []string{"y"})
	n.Outputs[0].Type = vec
	g.Append(n)
	g.AddOutput(n.Outputs[0])
	data, err := onnx.NewModel(g, 8).Encode()
	if err != nil {
		t.Fatal(err)
	}
	b, m := decode(t, data)
	if err := b.SetInput("x", vector(1, 2)); err != nil {
		t.Fatal(err)
	}
	if got := run(t, b, m)[0]; !slices.Equal(got, []float32{9, 18}) {
		t.Errorf("got %v", got)
	}
}

func TestScalarOutput(t *testing.T) {
	b, m := decode(t, parse(t, `<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float y) { y = ReduceSum<keepdims = 0>(x) }`))
	if err := m.SetInput(0, vector(1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	if err := b.Run(); err != nil {
		t.Fatal(err)
	}
	outputs, err := m.GetOutputTensors()
	if err != nil {
		t.Fatal(err)
	}
	if len(outputs[0].Shape()) != 0 || outputs[0].Data() != float32(6) {
		t.Errorf("got %v %v", outputs[0].Shape(), outputs[0].Data())
	}
}

func TestErrors(t *testing.T) {
	neg := parse(t, `<ir_version: 8, opset_import: ["": 17]> g (float[n] x) => (float[n] y) { y = Neg(x) }`)
	b, _ := decode(t, neg)
	wantError(t, b.Run(), `input "x" is not set`)
	wantError(t, b.SetInput("z", vector(1)), `no value "z"`)
	wantError(t, b.SetInput("x", nil), `"x"`)
	if err := b.SetInput("x", tensor.New(tensor.WithShape(1, 1), tensor.WithBacking([]int64{1}))); err != nil {
		t.Fatal(err)
	}
	wantError(t, b.Run(), `input "x" is int64`)

	b, _ = decode(t, neg)
	b.Keep = []string{"z"}
	wantError(t, b.Run(), `"z"`)
	wantError(t, New(17).Run(), "no model was decoded")

	b, _ = decode(t, parse(t, `<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float[n] y) { y = NoSuchOperator(x) }`))
	wantError(t, b.Run(), "NoSuchOperator")

	b, m := decode(t, neg)
	if err := m.SetInput(0, vector(1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantError(t, b.RunContext(ctx), context.Canceled.Error())

	// Broken graphs, which package onnx would not write.
	rename := func(data []byte, old, new string) []byte { return bytes.ReplaceAll(data, []byte(old), []byte(new)) }
	chain := parse(t, `<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float[n] yyyy) { aaaa = Neg(x)
		bbbb = Abs(aaaa)
		yyyy = Relu(bbbb) }`)
	two := decoder.NewModel(New(17))
	wantError(t, two.UnmarshalBinary(rename(chain, "bbbb", "aaaa")), `"aaaa" is given to two values`)
}

// The opset says what an operator is: Clip took its bounds as attributes once.
func TestOpset(t *testing.T) {
	m, b, err := Load(parse(t, `<ir_version: 8, opset_import: ["": 9]>
		g (float[n] x) => (float[n] y) { y = Clip<min = 0.0, max = 2.0>(x) }`))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SetInput(0, vector(-1, 1, 3)); err != nil {
		t.Fatal(err)
	}
	if got := run(t, b, m)[0]; !slices.Equal(got, []float32{0, 1, 2}) {
		t.Errorf("got %v", got)
	}
}

func TestLoadErrors(t *testing.T) {
	header := `<ir_version: 8, opset_import: ["": 17, "daq": 1]> `
	good := parse(t, header+`g (float[n] x) => (float[n] y) <float[2] c = {1.0, 2.0}> { y = Add(x, c) }`)
	tests := []struct {
		data []byte
		text string
	}{
		{nil, "has no graph"},
		{good[:len(good)-3], "cut off"},
		{parse(t, header+`g (float[n] x) => (float[n] y) { y = daq.Quantize(x) }`), `daq.Quantize "y"`},
		{parse(t, header+`g (float[1000000,1000000] x) => (float[n] y) { y = Neg(x) }`), `"x"`},
		{parse(t, header+`g (float[n] x) => (float[n] y) <uint8[2] c = {1, 2}> { d = Cast<to = 1>(c)
		y = Add(x, d) }`), "uint8"},
	}
	for _, test := range tests {
		_, _, err := Load(test.data)
		wantError(t, err, test.text)
	}
}

// Whatever is damaged, nothing panics.
func FuzzLoad(f *testing.F) {
	f.Add(parse(f, `<ir_version: 8, opset_import: ["": 17]>
		g (float[n] x) => (float[n] y) <float[2] c = {1.0, 2.0}> { d = Constant<value = int64[1] {3}>()
		e = Add(x, c)
		y = Tile(e, d) }`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, b, err := Load(data)
		if err == nil && len(m.Input) > 0 && m.SetInput(0, vector(1, 2)) == nil {
			_ = b.Run()
		}
	})
}

func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one with %q", err, text)
	}
}
