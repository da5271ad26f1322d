package runtime

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

func compile(t testing.TB, text string, o Options) *Program {
	t.Helper()
	p, err := Compile(parse(t, text), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func parse(t testing.TB, text string) *onnx.Model {
	t.Helper()
	if !strings.HasPrefix(text, "<") {
		text = `<ir_version: 10, opset_import: ["" : 21]> ` + text
	}
	m, err := onnx.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func floats(shape []int, v ...float32) *Tensor {
	t, err := Of(shape, v)
	if err != nil {
		panic(err)
	}
	return t
}

func TestWatchFollowsExecutionOrder(t *testing.T) {
	p := compile(t, `g (float[n] x) => (float[n] z) <float[1] w = {2}> {
		c = Add (w, w)
		a = Mul (x, c)
		b = Relu (a)
		z = Sub (b, w)
	}`, Options{Observe: []string{"z", "b", "a", "x", "w", "c"}})
	var seen []string
	_, err := p.Run(t.Context(), map[string]*Tensor{"x": floats([]int{2}, 1, -1)}, func(name string, x *Tensor) error {
		seen = append(seen, fmt.Sprint(name, x.Data))
		return nil
	})
	want := []string{"x[1 -1]", "w[2]", "c[4]", "a[4 -4]", "b[4 0]", "z[2 -2]"}
	if err != nil || !slices.Equal(seen, want) {
		t.Errorf("watched %v, %v; want %v", seen, err, want)
	}
	stop := errors.New("stop")
	_, err = p.Run(t.Context(), map[string]*Tensor{"x": floats([]int{2}, 1, -1)}, func(name string, x *Tensor) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("an error of watch became %v", err)
	}
}

func TestInputErrors(t *testing.T) {
	p := compile(t, `g (float[n,3,8,8] x) => (float[n,3,8,8] y) { y = Relu (x) }`, Options{})
	for name, c := range map[string]struct {
		in   map[string]*Tensor
		want string
	}{
		"missing":   {map[string]*Tensor{}, `input "x" (float[n,3,8,8]) is missing`},
		"rank":      {map[string]*Tensor{"x": floats([]int{3, 1, 1}, 1, 2, 3)}, `input "x" is float[3 1 1], the model wants float[n,3,8,8]`},
		"dimension": {map[string]*Tensor{"x": floats([]int{0, 3, 8, 9})}, `input "x" is float[0 3 8 9], the model wants float[n,3,8,8]`},
		"type":      {map[string]*Tensor{"x": {Type: onnx.Int64, Shape: []int{0, 3, 8, 8}, Data: []int64{}}}, `input "x" is int64[0 3 8 8], the model wants float[n,3,8,8]`},
		"data":      {map[string]*Tensor{"x": {Type: onnx.Float, Shape: []int{1, 3, 8, 8}, Data: []float32{1}}}, `input "x": 1 elements of data for shape [1 3 8 8]`},
		"go type":   {map[string]*Tensor{"x": {Type: onnx.Float, Shape: []int{1, 3, 8, 8}, Data: make([]float64, 192)}}, `input "x": a float tensor cannot hold its data as []float64`},
		"unknown":   {map[string]*Tensor{"x": floats([]int{0, 3, 8, 8}), "q": floats([]int{0})}, `the model has no input "q", it has "x"`},
	} {
		_, err := p.Run(t.Context(), c.in, nil)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func TestUnsupportedOperatorsAreListed(t *testing.T) {
	_, err := Compile(parse(t, `g (float[n] x) => (float[n] y) { [one] a = Foo (x) [two] b = Bar (a) [three] y = Foo (b) }`), Options{})
	want := `the runtime does not have these operators: Bar (node "two"), Foo (node "one")`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestHostile runs what must end in one line of error that names the node.
func TestHostile(t *testing.T) {
	x := floats([]int{1, 4, 2, 2}, make([]float32, 16)...)
	for name, body := range map[string]string{
		"expand":        `<int64[4] s = {1048576, 1048576, 16, 16}> { [bad] y = Expand (x, s) }`,
		"overflow":      `<int64[4] s = {9223372036854775807, 4, 2, 2}> { [bad] y = Expand (x, s) }`,
		"tile":          `<int64[4] s = {9223372036854775807, 9223372036854775807, 4, 4}> { [bad] y = Tile (x, s) }`,
		"resize":        `<float[4] s = {1, 1, 1e9, 1e9}> { [bad] y = Resize <mode = "cubic"> (x, , s) }`,
		"resize nan":    `<float[4] s = {1, 1, -1, 1}> { [bad] y = Resize (x, , s) }`,
		"pad":           `<int64[8] s = {0, 0, 2000000000, 2000000000, 0, 0, 0, 0}> { [bad] y = Pad (x, s) }`,
		"pad overflow":  `<int64[8] s = {0, 0, 9223372036854775807, 0, 0, 0, 9223372036854775807, 0}> { [bad] y = Pad (x, s) }`,
		"reshape":       `<int64[2] s = {-1, 7}> { [bad] y = Reshape (x, s) }`,
		"gather":        `<int64 s = {4}> { [bad] y = Gather <axis = 1> (x, s) }`,
		"slice step":    `<int64[1] a = {0}, int64[1] s = {0}> { [bad] y = Slice (x, a, a, a, s) }`,
		"transpose":     `{ [bad] y = Transpose <perm = [0, 1, 1, 2]> (x) }`,
		"softmax axis":  `{ [bad] y = Softmax <axis = 9> (x) }`,
		"conv channels": `<float[1, 3, 1, 1] w = {1, 2, 3}> { [bad] y = Conv (x, w) }`,
		"conv group":    `<float[1, 4, 1, 1] w = {1, 2, 3, 4}> { [bad] y = Conv <group = 0> (x, w) }`,
		"conv stride":   `<float[1, 4, 1, 1] w = {1, 2, 3, 4}> { [bad] y = Conv <strides = [0, 1]> (x, w) }`,
		"conv window":   `<float[1, 4, 1, 1] w = {1, 2, 3, 4}> { [bad] y = Conv <pads = [-5, 0, 0, 0]> (x, w) }`,
		"conv rank":     `<float[4] w = {1, 2, 3, 4}> { [bad] y = Conv (x, w) }`,
		"bias":          `<float[1, 4, 1, 1] w = {1, 2, 3, 4}, float[2] b = {1, 2}> { [bad] y = Conv (x, w, b) }`,
		"transposed":    `<float[4, 1, 1, 1] w = {1, 2, 3, 4}> { [bad] y = ConvTranspose <strides = [2000000000, 2000000000]> (x, w) }`,
		"block":         `{ [bad] y = DepthToSpace <blocksize = 3> (x) }`,
		"pool":          `{ [bad] y = MaxPool <kernel_shape = [5, 5]> (x) }`,
		"no input":      `{ [bad] y = Relu () }`,
		"one input":     `{ [bad] y = Add (x) }`,
		"modulo":        `<int64 z = {0}> { s = Size (x) [bad] y = Div (s, z) }`,
		"range":         `<float a = {0}, float b = {0}> { s = ReduceSum <keepdims = 0> (x) [bad] y = Range (a, s, b) }`,
		"output":        `{ [bad] y, z = Relu (x) }`,
		"einsum":        `{ [bad] y = Einsum <equation = "ab,c"> (x) }`,
		"top k":         `<int64[1] k = {9}> { [bad] y, z = TopK (x, k) }`,
		"quantize":      `<float[3] s = {1, 1, 1}> { [bad] y = QuantizeLinear (x, s) }`,
		"loop":          `<int64 m = {9000000000000000000}, bool c = {1}> { [bad] y = Loop (m, c) <body = b (int64 i, bool k) => (bool k2, float[1, 4, 2, 2] r) { k2 = Identity (k) r = Identity (x) }> }`,
	} {
		m, err := onnx.Parse(`<ir_version: 10, opset_import: ["" : 21]> g (float[n, 4, h, w] x) => (y) ` + body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		var p *Program
		if p, err = Compile(m, Options{MaxBytes: 1 << 20}); err == nil {
			_, err = p.Run(ctx, map[string]*Tensor{"x": x}, nil)
		}
		cancel()
		if err == nil || !strings.Contains(err.Error(), `"bad"`) || strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), "internal error") && name != "modulo" {
			t.Errorf("%s: a panic: %v", name, err)
		}
	}
}

func TestCancel(t *testing.T) {
	p := compile(t, `g (float[n] x) => (float[n] y) { a = Relu (x) b = Neg (a) y = Exp (b) }`, Options{Observe: []string{"a"}})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := p.Run(ctx, map[string]*Tensor{"x": floats([]int{1}, 1)}, func(string, *Tensor) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestOutputsAreTheCallers: an output that is an input, a constant, a view or
// given twice has memory of its own, and outlives the next run.
func TestOutputsAreTheCallers(t *testing.T) {
	p := compile(t, `g (float[2] x) => (float[2] a, float[2] b, float[1, 2] c, float[2] w2) <float[2] w = {5, 6}, int64[1] k = {0}> {
		a = Identity (x)
		b = Neg (x)
		c = Unsqueeze (b, k)
		w2 = Identity (w)
	}`, Options{})
	x := floats([]int{2}, 1, 2)
	first, err := p.Run(t.Context(), map[string]*Tensor{"x": x}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "w2"} {
		first[name].Data.([]float32)[0] = 100
	}
	second, err := p.Run(t.Context(), map[string]*Tensor{"x": floats([]int{2}, 7, 8)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(x.Data, first["b"].Data, first["c"].Data, second["a"].Data, second["b"].Data, second["w2"].Data)
	if want := "[1 2] [-1 -2] [-1 -2] [7 8] [-7 -8] [5 6]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestReuse runs random graphs of operators that work in place, as views and
// across broadcasts, and compares with every node executed by itself.
func TestReuse(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		g := onnx.NewGraph("random")
		values := []*onnx.Value{
			g.AddInput("x", onnx.Type{Elem: onnx.Float, Shape: onnx.Shape{onnx.Known(2), onnx.Known(3), onnx.Known(4)}}),
			g.AddInitializer("w", onnx.Floats([]int64{3, 1}, 0.5, -1, 2)),
		}
		shape, flat := g.AddInitializer("shape", onnx.Int64s(2, 3, 4)), g.AddInitializer("flat", onnx.Int64s(6, 4))
		for range 12 {
			pick := func() *onnx.Value { return values[r.IntN(len(values))] }
			var n *onnx.Node
			switch r.IntN(7) {
			case 0:
				n = g.NewNode([]string{"Relu", "Neg", "Abs", "Identity", "Tanh"}[r.IntN(5)], []*onnx.Value{pick()}, []string{"v"})
			case 1, 2:
				n = g.NewNode([]string{"Add", "Sub", "Mul", "Max"}[r.IntN(4)], []*onnx.Value{pick(), pick()}, []string{"v"})
			case 3:
				n = g.NewNode("Expand", []*onnx.Value{pick(), shape}, []string{"v"})
			case 4:
				n = g.NewNode("Split", []*onnx.Value{values[0]}, []string{"v", "v"}, onnx.Attr("axis", 0))
			case 5:
				e := g.NewNode("Expand", []*onnx.Value{pick(), shape}, []string{"e"})
				f := g.NewNode("Reshape", []*onnx.Value{e.Outputs[0], flat}, []string{"f"})
				s := g.NewNode("Softmax", []*onnx.Value{f.Outputs[0]}, []string{"s"})
				g.Append(e, f, s)
				n = g.NewNode("Reshape", []*onnx.Value{s.Outputs[0], shape}, []string{"v"})
			default:
				n = g.NewNode("Where", []*onnx.Value{g.AddInitializer("c", onnx.NewTensor(onnx.Bool, []int64{4}, []uint8{1, 0, 0, 1})), pick(), pick()}, []string{"v"})
			}
			g.Append(n)
			values = append(values, n.Outputs...)
		}
		for _, v := range values[len(values)-3:] {
			g.AddOutput(v)
		}
		m := onnx.NewModel(g, 21)
		p, err := Compile(m, Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second run reuses memory of the first
			x := noise(1, 2, 3, 4, 1)
			x.Shape = []int{2, 3, 4}
			for i := range x.Data.([]float32) {
				x.Data.([]float32)[i] -= 0.5
			}
			got, err := p.Run(t.Context(), map[string]*Tensor{"x": x}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range literally(t, m, map[string]*Tensor{"x": x}) {
				if g := got[name]; !slices.Equal(g.Shape, want.Shape) || !slices.Equal(g.Data.([]float32), want.Data.([]float32)) {
					t.Fatalf("seed %d: %s is %v, want %v", seed, name, g.Data, want.Data)
				}
			}
		}
	}
}

// literally executes node after node with Eval.
func literally(t *testing.T, m *onnx.Model, inputs map[string]*Tensor) map[string]*Tensor {
	values := map[string]*Tensor{}
	for name, x := range inputs {
		values[name] = x
	}
	for _, v := range m.Graph.Initializers() {
		x, err := FromONNX(v.Const)
		if err != nil {
			t.Fatal(err)
		}
		values[v.Name] = x
	}
	for _, n := range m.Graph.Nodes {
		var in []*Tensor
		for _, v := range n.Inputs {
			in = append(in, values[v.Name].Clone())
		}
		out, err := Eval(t.Context(), n, m.Opset(""), in)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range n.Outputs {
			values[v.Name] = out[i]
		}
	}
	results := map[string]*Tensor{}
	for _, v := range m.Graph.Outputs {
		results[v.Name] = values[v.Name]
	}
	return results
}

const small = `g (float[n,3,h,w] x) => (float[n,3,h,w] y) <float[8,3,3,3] w1, float[3,8,3,3] w2> {
	a = Conv <pads = [1, 1, 1, 1]> (x, w1)
	b = Relu (a)
	m = ReduceMean <keepdims = 1> (b)
	d = Sub (b, m)
	c = Conv <pads = [1, 1, 1, 1]> (d, w2)
	y = Add (c, x)
}`

func smallModel(t *testing.T) *onnx.Model {
	weights := func() string {
		r := rand.New(rand.NewPCG(1, 2))
		var s []string
		for range 216 {
			s = append(s, fmt.Sprintf("%.4f", r.Float32()-0.5))
		}
		return " = {" + strings.Join(s, ", ") + "}"
	}
	return parse(t, strings.NewReplacer(" w1,", " w1"+weights()+",", " w2>", " w2"+weights()+">").Replace(small))
}

func TestThreadsAndConcurrentRuns(t *testing.T) {
	m := smallModel(t)
	in := map[string]*Tensor{"x": noise(2, 3, 61, 47, 1)}
	one, err := Compile(m, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	want, err := one.Run(t.Context(), in, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(m, Options{Threads: 3})
	if err != nil {
		t.Fatal(err)
	}
	var team sync.WaitGroup
	for range 4 {
		team.Go(func() {
			for range 3 {
				got, err := p.Run(t.Context(), in, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if !slices.Equal(got["y"].Data.([]float32), want["y"].Data.([]float32)) {
					t.Error("the result depends on the threads")
				}
			}
		})
	}
	team.Wait()
	if p.PeakBytes() == 0 {
		t.Error("no memory reported")
	}
}

func TestMemoryIsReused(t *testing.T) {
	var body strings.Builder
	from := "x"
	for i := range 40 {
		fmt.Fprintf(&body, "v%d = Relu (%s) u%d = Concat <axis = 0> (v%d, v%d) s%d, r%d = Split <axis = 0, num_outputs = 2> (u%d)\n", i, from, i, i, i, i, i, i)
		from = fmt.Sprintf("s%d", i)
	}
	p := compile(t, fmt.Sprintf("g (float[n] x) => (float[n] y) { %s y = Neg (%s) }", body.String(), from), Options{})
	if _, err := p.Run(t.Context(), map[string]*Tensor{"x": floats([]int{1 << 16}, make([]float32, 1<<16)...)}, nil); err != nil {
		t.Fatal(err)
	}
	if most := int64(5 * 4 << 16); p.PeakBytes() > most {
		t.Errorf("%d bytes at a time, want at most %d", p.PeakBytes(), most)
	}
}

func TestPackedTypes(t *testing.T) {
	for _, c := range []struct {
		typ  onnx.DataType
		data any
		raw  []byte
	}{
		{onnx.Uint4, []uint8{1, 15, 7}, []byte{0xf1, 0x07}},
		{onnx.Int4, []int8{-8, 7, -1}, []byte{0x78, 0x0f}},
		{onnx.Uint2, []uint8{1, 3, 0, 2, 1}, []byte{0x8d, 0x01}},
		{onnx.Int2, []int8{-2, 1, -1, 0, 1}, []byte{0x36, 0x01}},
	} {
		x := &Tensor{Type: c.typ, Shape: []int{dataLen(c.data)}, Data: c.data}
		packed := x.ONNX()
		back, err := FromONNX(packed)
		if err != nil || !slices.Equal(packed.Data, c.raw) || fmt.Sprint(back.Data) != fmt.Sprint(c.data) {
			t.Errorf("%s: %v became %x and %v, %v", c.typ, c.data, packed.Data, back, err)
		}
	}
}

func TestHalfRoundTrip(t *testing.T) {
	for h := range uint32(1 << 16) {
		for _, typ := range []onnx.DataType{onnx.Float16, onnx.Bfloat16} {
			f := fromHalf(typ, uint16(h))
			if back := toHalf(typ, f); back != uint16(h) && f == f {
				t.Fatalf("%s %#x is %v, which is %#x", typ, h, f, back)
			}
		}
	}
	if h := toHalf(onnx.Float16, float32(math.Inf(1))); h != 0x7c00 {
		t.Errorf("infinity is %#x", h)
	}
}
