package interop

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/npy"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// TestInteropQuantized loads quantized networks in ONNX Runtime at its default
// optimization level and compares every code and the output with ours.
//
// Sums of floats round differently in any two programs, so a value on the border
// of two levels may get either code, and one such tie changes what every later
// layer sees: from end to end only the quality can be equal. That both execute
// the same arithmetic is shown piece by piece, each piece fed with what ONNX
// Runtime computed: quantizers may differ in ties, what lies between them by
// float rounding.
func TestInteropQuantized(t *testing.T) {
	python := testenv.Python(t)
	widths := []converter.QuantizeOptions{
		settings(2, passes.Paper), settings(3, passes.Paper), settings(4, passes.Paper), settings(8, passes.Paper),
		settings(4, passes.Calibrated),
	}
	forms := []converter.QuantizeOptions{lowOpset(4), lowOpset(2), sigma(4, 8)}
	for name, options := range map[string][]converter.QuantizeOptions{
		"EDSR_x2": append(forms, widths...), "SRResNet_x4": widths, "RDN_x2": widths,
	} {
		for _, o := range options {
			title := fmt.Sprintf("%s/%d bits %s opset %d sigma %d", name, o.WeightBits, o.Rule, o.Opset, o.SigmaBits)
			t.Run(title, func(t *testing.T) { compareQuantized(t, python, testenv.ModelNamed(t, name), o) })
		}
	}
}

func settings(bits int, rule passes.Rule) converter.QuantizeOptions {
	return converter.QuantizeOptions{Settings: passes.Settings{WeightBits: bits, ActivationBits: bits, Rule: rule}}
}

// lowOpset asks for an opset without sub-byte types: codes are unpacked by nodes.
func lowOpset(bits int) converter.QuantizeOptions {
	o := settings(bits, passes.Paper)
	o.Opset = 18
	return o
}

func sigma(bits, sigmaBits int) converter.QuantizeOptions {
	o := settings(bits, passes.Paper)
	o.SigmaBits = sigmaBits
	return o
}

func compareQuantized(t *testing.T, python string, net testenv.Model, o converter.QuantizeOptions) {
	quantized := quantize(t, net, o)
	path := filepath.Join(t.TempDir(), net.Name+".onnx")
	if err := quantized.Save(path); err != nil {
		t.Fatal(err)
	}
	quantizers := quantizerNodes(quantized)
	var fetch []string
	for _, n := range quantizers {
		fetch = append(fetch, n.Inputs[0].Name, n.Outputs[0].Name, n.Outputs[1].Name, n.Outputs[2].Name, dequantized(n).Name)
	}
	photo := photograph(t, "butterfly", 48, 40)
	theirs := runORT(t, python, path, photo, fetch)

	// Quantizers, given ONNX Runtime's inputs of them.
	pieces := runOurs(t, quantizersOnly(quantized, quantizers), inputsOf(theirs, quantizers), nil)
	var total, ties int
	for _, n := range quantizers {
		name := n.Outputs[0].Name
		all, differ, most := compareCodes(pieces[name].Data.([]uint8), theirs[name].Data.([]float32))
		if most > 1 {
			t.Errorf("%q: codes differ by %d for the same input", name, most)
		}
		for _, v := range []*onnx.Value{n.Outputs[1], n.Outputs[2]} { // scale and offset
			if e := relativeError(pieces[v.Name].Data.([]float32), theirs[v.Name].Data.([]float32)); e > 1e-4 {
				t.Errorf("%q differs by %.1e of its range for the same input", v.Name, e)
			}
		}
		checkLevels(t, dequantized(n).Name, pieces, theirs, n)
		total, ties = total+all, ties+differ
	}
	if ties*2000 > total {
		t.Errorf("%d of %d codes differ for the same inputs: too many for ties", ties, total)
	}

	// What lies between them, given ONNX Runtime's dequantized tensors.
	between, inputs := betweenQuantizers(quantized, theirs)
	inputs["input"] = photo
	floats := runOurs(t, between, inputs, nil)
	rounding := 0.0
	for name, x := range floats {
		e := relativeError(x.Data.([]float32), theirs[name].Data.([]float32))
		if e > 1e-4 {
			t.Errorf("%q differs by %.1e of its range for the same inputs", name, e)
		}
		rounding = max(rounding, e)
	}

	// From end to end.
	ours := runOurs(t, quantized, map[string]*runtime.Tensor{"input": photo}, fetch)
	var changed int
	for _, n := range quantizers {
		name := n.Outputs[0].Name
		_, differ, _ := compareCodes(ours[name].Data.([]uint8), theirs[name].Data.([]float32))
		changed += differ
	}
	float := runOurs(t, load(t, net), map[string]*runtime.Tensor{"input": photo}, nil)["output"]
	ourNoise, theirNoise := psnr(ours["output"], float), psnr(theirs["output"], float)
	if d := math.Abs(ourNoise - theirNoise); d > 0.5 {
		t.Errorf("quantization noise is %.2f dB here and %.2f dB there", ourNoise, theirNoise)
	}
	t.Logf("%d codes: %d ties by one code for the same inputs; floats within %.0e of the range for the same inputs; from end to end %d codes differ, outputs agree to %.1f dB, noise against float %.2f and %.2f dB",
		total, ties, rounding, changed, psnr(ours["output"], theirs["output"]), ourNoise, theirNoise)
}

func load(t *testing.T, net testenv.Model) *onnx.Model {
	t.Helper()
	m, err := onnx.Load(net.Path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// dequantized returns what a quantizer's Dequantize gives.
func dequantized(quantizer *onnx.Node) *onnx.Value {
	return quantizer.Outputs[0].Uses()[0].Node.Outputs[0]
}

// betweenQuantizers returns the network with every dequantized activation as an
// input and every quantizer's input as an output, and the values of the inputs.
func betweenQuantizers(quantized *onnx.Model, theirs map[string]*runtime.Tensor) (*onnx.Model, map[string]*runtime.Tensor) {
	m := quantized.Clone()
	g := m.Graph
	inputs := map[string]*runtime.Tensor{}
	for _, n := range quantizerNodes(m) {
		x, y := n.Inputs[0], dequantized(n)
		given := g.AddInput(g.UniqueName(y.Name+"_given"), y.Type)
		inputs[given.Name] = theirs[y.Name]
		y.ReplaceUses(given)
		if !x.IsOutput() && x.Producer != nil {
			g.AddOutput(x)
		}
	}
	g.RemoveAll(func(n *onnx.Node) bool {
		return n.Domain == passes.Domain && (strings.HasPrefix(n.Op, "Quantize") || len(n.Outputs[0].Uses()) == 0)
	})
	g.DropUnused()
	return m, inputs
}

func quantize(t *testing.T, net testenv.Model, o converter.QuantizeOptions) *onnx.Model {
	t.Helper()
	var images *calib.Dataset
	if o.Rule == passes.Calibrated {
		var err error
		if images, err = calib.OpenDataset(filepath.Join(testenv.Root(), "models", "builtin", "images", "calibration", "LRx2"), 1); err != nil {
			t.Fatal(err)
		}
	}
	result, err := converter.Quantize(context.Background(), load(t, net), images, o)
	if err != nil {
		t.Fatal(err)
	}
	return result.Model
}

func quantizerNodes(m *onnx.Model) []*onnx.Node {
	var nodes []*onnx.Node
	for _, n := range m.Graph.Nodes {
		if n.Domain == passes.Domain && strings.HasPrefix(n.Op, "Quantize") {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// checkLevels compares dequantized tensors: equal up to float rounding where the
// codes are, one scale apart where they are tied.
func checkLevels(t *testing.T, name string, ours, theirs map[string]*runtime.Tensor, quantizer *onnx.Node) {
	t.Helper()
	codes, scales := ours[quantizer.Outputs[0].Name].Data.([]uint8), ours[quantizer.Outputs[1].Name].Data.([]float32)
	theirCodes := theirs[quantizer.Outputs[0].Name].Data.([]float32)
	x, y := ours[name].Data.([]float32), theirs[name].Data.([]float32)
	least, most := slices.Min(y), slices.Max(y)
	pixels := len(x) / len(scales)
	for i := range x {
		allowed := float64(most-least)*1e-5 + math.Abs(float64(codes[i])-float64(theirCodes[i]))*float64(scales[i/pixels])*1.001
		if d := math.Abs(float64(x[i]) - float64(y[i])); d > allowed {
			t.Errorf("%q, element %d: %g here, %g there, codes %d and %g", name, i, x[i], y[i], codes[i], theirCodes[i])
			return
		}
	}
}

// quantizersOnly returns the quantizers of a network with their Dequantize, each
// with its own input.
func quantizersOnly(m *onnx.Model, quantizers []*onnx.Node) *onnx.Model {
	g := onnx.NewGraph("quantizers")
	alone := onnx.NewModel(g, m.Opset(""))
	alone.SetOpset(passes.Domain, m.Opset(passes.Domain))
	alone.Functions = m.Clone().Functions
	for _, n := range quantizers {
		x := n.Inputs[0]
		inputs := []*onnx.Value{g.AddInput(x.Name, x.Type)}
		for _, c := range n.Inputs[1:] {
			inputs = append(inputs, g.AddInitializer(c.Name, c.Const.Clone()))
		}
		call := g.NewNode(n.Op, inputs, []string{n.Outputs[0].Name, n.Outputs[1].Name, n.Outputs[2].Name})
		call.Domain = n.Domain
		back := g.NewNode("Dequantize", call.Outputs, []string{dequantized(n).Name})
		back.Domain = n.Domain
		g.Append(call, back)
		for _, v := range append(call.Outputs, back.Outputs...) {
			v.Type.Elem = onnx.Float
			g.AddOutput(v)
		}
		call.Outputs[0].Type = n.Outputs[0].Type
	}
	return alone
}

func inputsOf(tensors map[string]*runtime.Tensor, quantizers []*onnx.Node) map[string]*runtime.Tensor {
	inputs := map[string]*runtime.Tensor{}
	for _, n := range quantizers {
		inputs[n.Inputs[0].Name] = tensors[n.Inputs[0].Name]
	}
	return inputs
}

// photograph returns a part of a picture of Set5 as [1,3,H,W] in 0..1.
func photograph(t *testing.T, name string, h, w int) *runtime.Tensor {
	t.Helper()
	m, err := imaging.ReadFile(filepath.Join(testenv.Shared(t), "data", "images", "Set5", "LRx2", name+".png"))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.Crop(w, h); err != nil {
		t.Fatal(err)
	}
	x, err := runtime.Of([]int{1, 3, h, w}, m.Pix)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func runOurs(t *testing.T, m *onnx.Model, inputs map[string]*runtime.Tensor, observe []string) map[string]*runtime.Tensor {
	t.Helper()
	program, err := runtime.Compile(m, runtime.Options{Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]*runtime.Tensor{}
	results, err := program.Run(context.Background(), inputs, func(name string, x *runtime.Tensor) error {
		seen[name] = x.Clone()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range results {
		seen[name] = x
	}
	return seen
}

// runORT returns outputs and fetched values, all as float.
func runORT(t *testing.T, python, model string, input *runtime.Tensor, fetch []string) map[string]*runtime.Tensor {
	t.Helper()
	dir := t.TempDir()
	in := filepath.Join(dir, "input.npy")
	if err := npy.Write(in, input.Shape, input.Data.([]float32)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, filepath.Join(testenv.Root(), "interop", "run_ort.py"), model, in,
		"--out", dir, "--opt", "all", "--fetch", strings.Join(fetch, ","))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ONNX Runtime: %v\n%s", err, out)
	}
	names, err := os.ReadFile(filepath.Join(dir, "names.txt"))
	if err != nil {
		t.Fatal(err)
	}
	results := map[string]*runtime.Tensor{}
	for i, name := range strings.Fields(string(names)) {
		shape, data, err := npy.Read(filepath.Join(dir, fmt.Sprintf("%d.npy", i)))
		if err != nil {
			t.Fatal(err)
		}
		if results[name], err = runtime.Of(shape, data); err != nil {
			t.Fatal(err)
		}
	}
	return results
}

func compareCodes(ours []uint8, theirs []float32) (total, differ, most int) {
	for i, code := range ours {
		if d := int(math.Abs(float64(code) - float64(theirs[i]))); d > 0 {
			differ++
			most = max(most, d)
		}
	}
	return len(ours), differ, most
}

// relativeError returns the largest difference as a share of the range of b.
func relativeError(a, b []float32) float64 {
	least, most, worst := math.Inf(1), math.Inf(-1), 0.0
	for i := range a {
		least, most = min(least, float64(b[i])), max(most, float64(b[i]))
		worst = max(worst, math.Abs(float64(a[i])-float64(b[i])))
	}
	if worst == 0 {
		return 0
	}
	return worst / (most - least)
}

// psnr compares two outputs, peak 1.
func psnr(a, b *runtime.Tensor) float64 {
	x, y := a.Data.([]float32), b.Data.([]float32)
	sum := 0.0
	for i := range x {
		d := float64(x[i]) - float64(y[i])
		sum += d * d
	}
	return -10 * math.Log10(sum/float64(len(x)))
}
