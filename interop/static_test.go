package interop

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// TestInteropStatic: what lies between two quantizers of a static graph, given what
// ONNX Runtime dequantized there, gives the codes that ONNX Runtime has: one code
// apart at ties, and few of these. From end to end ties grow from layer to layer, so
// there only the noise against float is compared.
func TestInteropStatic(t *testing.T) {
	python := testenv.Python(t)
	net := testenv.ModelNamed(t, "EDSR_x2")
	photo := inputOf(t, net, 48, 40)
	float := runOurs(t, load(t, net), map[string]*runtime.Tensor{"input": photo}, nil)["output"]
	for _, bits := range []int{8, 4} {
		t.Run(fmt.Sprintf("EDSR_x2/%d bits", bits), func(t *testing.T) {
			model := staticNetwork(t, net, bits)
			path := filepath.Join(t.TempDir(), "static.onnx")
			if err := model.Save(path); err != nil {
				t.Fatal(err)
			}
			if err := onnx.Infer(model); err != nil { // what is cut out needs the types that the file has not
				t.Fatal(err)
			}
			pieces, given, codes := betweenStatic(model)
			fetch := append([]string{}, codes...)
			for _, y := range given {
				fetch = append(fetch, y)
			}
			theirs := runORT(t, python, path, photo, fetch)
			inputs := map[string]*runtime.Tensor{"input": photo}
			for name, y := range given {
				inputs[name] = theirs[y]
			}
			ours := runOurs(t, pieces, inputs, nil)
			total, ties := 0, 0
			for _, name := range codes {
				all, differ, most := compareCodes(ours[name].Data.([]uint8), theirs[name].Data.([]float32))
				if most > 1 {
					t.Errorf("%q: codes differ by %d for the same input", name, most)
				}
				total, ties = total+all, ties+differ
			}
			if ties*1000 > total {
				t.Errorf("%d of %d codes differ for the same inputs: too many for ties", ties, total)
			}
			checkIntegers(t, model, theirs, photo)
			whole := runOurs(t, model, map[string]*runtime.Tensor{"input": photo}, nil)["output"]
			here, there := psnr(whole, float), psnr(theirs["output"], float)
			if math.Abs(here-there) > 0.5 {
				t.Errorf("noise against float is %.2f dB here and %.2f dB there", here, there)
			}
			t.Logf("%d of %d codes differ for the same inputs, by one; noise against float %.2f and %.2f dB", ties, total, here, there)
		})
	}
}

// staticNetwork quantizes a network in the static form for ONNX Runtime, on a built-in
// photograph.
func staticNetwork(t *testing.T, net testenv.Model, bits int) *onnx.Model {
	t.Helper()
	images, err := calib.OpenDataset(filepath.Join(testenv.Root(), "models", "builtin", "images", "calibration", "LRx2"), 1)
	if err != nil {
		t.Fatal(err)
	}
	o := settings(bits, passes.Calibrated)
	o.Mode, o.Target = target.Static, "onnxruntime"
	q, err := converter.Quantize(context.Background(), load(t, net), images, o)
	if err != nil {
		t.Fatal(err)
	}
	return q.Model
}

// checkIntegers holds a static graph as our runtime executes it, in integers, against
// ONNX Runtime: each piece between two quantizers is given what ONNX Runtime has there,
// quantized again, and gives levels. At most one in 1000 lies one level apart, like the
// ties of the nodes one by one.
func checkIntegers(t *testing.T, quantized *onnx.Model, theirs map[string]*runtime.Tensor, photo *runtime.Tensor) {
	t.Helper()
	m, scales := levelPieces(quantized)
	inputs := map[string]*runtime.Tensor{"input": photo}
	for name := range scales {
		inputs[name+"_given"] = theirs[name]
	}
	program, err := runtime.Compile(m, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := program.Run(context.Background(), inputs, nil)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := program.Profile(context.Background(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if s.Op == "QuantizeLinear" || s.Op == "DequantizeLinear" {
			t.Errorf("%s is executed as %s", s.Node, s.Op)
		}
	}
	total, ties := 0, 0
	for name, scale := range scales {
		want := theirs[name].Data.([]float32)
		for i, v := range ours[name].Data.([]float32) {
			switch d := math.Abs(float64(v-want[i])) / float64(scale); {
			case d > 1.01:
				t.Fatalf("%q: %g where ONNX Runtime has %g, %g levels apart", name, v, want[i], d)
			case d > 0.5:
				ties++
			}
		}
		total += len(want)
	}
	if ties*1000 > total {
		t.Errorf("in integers %d of %d levels differ for the same inputs: too many for ties", ties, total)
	}
	t.Logf("in integers %d of %d levels differ for the same inputs, by one", ties, total)
}

// levelPieces returns a static graph whose dequantized activations, but the output,
// are outputs; what reads one reads an input x_given instead, quantized like it. The
// scales are by name of x.
func levelPieces(quantized *onnx.Model) (m *onnx.Model, scales map[string]float32) {
	m = quantized.Clone()
	g := m.Graph
	scales = map[string]float32{}
	for _, n := range slices.Clone(g.Nodes) {
		if !n.Is("DequantizeLinear") || n.Inputs[0].Const != nil || n.Outputs[0].IsOutput() {
			continue
		}
		y := n.Outputs[0]
		scale, err := runtime.FromONNX(n.Inputs[1].Const)
		if err != nil {
			continue
		}
		scales[y.Name] = scale.Data.([]float32)[0]
		in := g.AddInput(y.Name+"_given", y.Type)
		var again []*onnx.Node
		v := in
		for p := n; p != nil; p = p.Inputs[0].Producer { // DequantizeLinear, perhaps Clip, QuantizeLinear
			again = append(again, p)
			if p.Is("QuantizeLinear") {
				break
			}
		}
		uses := y.Uses()
		for _, p := range slices.Backward(again) {
			c := g.NewNode(p.Op, append([]*onnx.Value{v}, p.Inputs[1:]...), []string{g.UniqueName(p.Outputs[0].Name + "_again")})
			c.Outputs[0].Type = p.Outputs[0].Type
			g.Append(c)
			v = c.Outputs[0]
		}
		for _, u := range uses {
			u.Node.SetInput(u.Index, v)
		}
		g.AddOutput(y)
	}
	return m, scales
}

// betweenStatic returns a static graph cut at its quantizers: every dequantized
// activation but the output is an input, by name of the input, and all codes are
// outputs.
func betweenStatic(quantized *onnx.Model) (m *onnx.Model, given map[string]string, codes []string) {
	m = quantized.Clone()
	g := m.Graph
	given = map[string]string{}
	for _, n := range g.Nodes {
		switch {
		case n.Is("QuantizeLinear"):
			codes = append(codes, n.Outputs[0].Name)
			g.AddOutput(n.Outputs[0])
		case n.Is("DequantizeLinear") && n.Inputs[0].Const == nil && !n.Outputs[0].IsOutput():
			y := n.Outputs[0]
			in := g.AddInput(g.UniqueName(y.Name+"_given"), y.Type)
			given[in.Name] = y.Name
			y.ReplaceUses(in)
		}
	}
	g.RemoveAll(func(n *onnx.Node) bool {
		return n.Is("DequantizeLinear") && n.Inputs[0].Const == nil && !n.Outputs[0].IsOutput()
	})
	g.RemoveAll(func(n *onnx.Node) bool {
		return n.Is("Clip") && len(n.Outputs[0].Uses()) == 0 && !n.Outputs[0].IsOutput()
	})
	g.DropUnused()
	return m, given, codes
}
