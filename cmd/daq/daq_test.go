package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/onnx"
)

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"quantise", `did you mean quantize?`},
		{"frobnicate", "see daq --help"},
		{"help frobnicate", "see daq --help"},
		{"help quantise", "did you mean quantize?"},
		{"quantize", "MODEL.onnx is missing"},
		{"quantize m.onnx extra -o x.onnx", `"extra" is one argument too many`},
		{"quantize m.onnx", "-o OUT.onnx is missing"},
		{"quantize m.onnx -o x.onnx", "--calib DIR is missing"},
		{"quantize m.onnx -o x.onnx --callib d", "did you mean --calib?"},
		{"quantize m.onnx -o x.onnx --thread 2", "did you mean --threads?"},
		{"quantize m.onnx -o x.onnx --nonsense", "see daq quantize --help"},
		{"quantize m.onnx -o x.onnx -z", "unknown flag -z"},
		{"quantize m.onnx -o x.onnx --bits four", "four"},
		{"quantize m.onnx -o x.onnx --bits", "--bits"},
		{"quantize m.onnx -o x.onnx --calib d --bits 9", "--bits: 9 bits: want 1 to 8"},
		{"quantize m.onnx -o x.onnx --calib d --bits 0", "--bits: 0 bits"},
		{"quantize m.onnx -o x.onnx --calib d --weight-bits 17", "--weight-bits: 17 bits"},
		{"quantize m.onnx -o x.onnx --calib d --sigma-bits -1", "--sigma-bits: -1 bits"},
		{"quantize m.onnx -o x.onnx --calib d --bits 4 --weight-bits 3", "leave out --bits or --weight-bits"},
		{"quantize m.onnx -o x.onnx --calib d --bits 4 --activation-bits 3", "leave out --bits or --activation-bits"},
		{"quantize m.onnx -o x.onnx --calib d --step papr", `--step "papr"`},
		{"quantize m.onnx -o x.onnx --calib d --step -1", `--step "-1"`},
		{"quantize m.onnx -o x.onnx --calib d --layers some", `--layers "some": want body, all`},
		{"quantize m.onnx -o x.onnx --calib d --include (", "--include"},
		{"quantize m.onnx -o x.onnx --calib d --input-range 2", "want auto, 1, 255"},
		{"quantize m.onnx -o x.onnx --calib d --downscale 0", "--downscale 0"},
		{"quantize m.onnx -o x.onnx --calib d --opset -1", "--opset -1"},
		{"quantize m.onnx -o x.onnx --calib d --threads -1", "--threads -1"},
		{"quantize m.onnx -o x.onnx --plan p.json --bits 3", "--plan holds the choice of --bits"},
		{"quantize m.onnx -o x.onnx --calib d --mode static --inline", "--inline is for dynamic quantization"},
		{"quantize m.onnx -o x.onnx --target storage --activation-bits 4", "--activation-bits is about activations"},
		{"quantize m.onnx -o x.onnx --target storage --profile p", "--profile is about activations"},
		{"validate f.onnx", "QUANTIZED.onnx is missing"},
		{"validate f.onnx q.onnx", "--data DIR is missing"},
		{"validate f.onnx q.onnx --data d --max-drop much", "much"},
		{"upscale m.onnx", "IMAGE is missing"},
		{"upscale m.onnx i.png", "-o OUT is missing"},
		{"upscale m.onnx i.png -o x.png --resume --overwrite", "choose one"},
		{"upscale m.onnx i.png -o x.png --max-memory 2", "want a number with GiB"},
		{"upscale m.onnx i.png -o x.png --max-memory -1GiB", "want a number with GiB"},
		{"calibrate m.onnx -o p", "--calib DIR is missing"},
		{"calibrate m.onnx --calib d", "-o PROFILE is missing"},
		{"inspect", "FILE.onnx is missing"},
		{"inspect m.onnx --json --text", "choose one"},
		{"demo", "-o DIR is missing"},
		{"version now", `"now" is one argument too many`},
	} {
		t.Run(c.args, func(t *testing.T) {
			r := daq(strings.Fields(c.args)...)
			fails(t, r, exitUsage, c.want)
			if r.stdout != "" {
				t.Errorf("stdout %q", r.stdout)
			}
		})
	}
}

func TestEveryCommandTeaches(t *testing.T) {
	text := must(t)
	for _, want := range []string{"daq demo -o demo", "quantize", "validate", "upscale", "calibrate", "inspect", "version", "Exit codes:"} {
		if !strings.Contains(text, want) {
			t.Errorf("daq alone does not mention %q", want)
		}
	}
	for _, c := range newRoot(&terminal{}).Commands() {
		help := must(t, c.Name(), "--help")
		for _, want := range []string{"Examples:\n  daq " + c.Name(), "Usage:\n  daq " + c.Name(), "Exit codes:\n  0"} {
			if !strings.Contains(help, want) {
				t.Errorf("daq %s --help lacks %q", c.Name(), want)
			}
		}
	}
	if must(t, "help", "upscale") != must(t, "upscale", "--help") || must(t, "help") != text {
		t.Error("help COMMAND is not COMMAND --help")
	}
	if v := must(t, "version"); v != must(t, "--version") || !strings.HasPrefix(v, "daq ") {
		t.Errorf("version %q", v)
	}
}

func TestBadModels(t *testing.T) {
	f := newFiles(t)
	whole, err := os.ReadFile(f.path("float.onnx"))
	check(t, err)
	check(t, os.WriteFile(f.path("truncated.onnx"), whole[:len(whole)/2], 0o666))
	check(t, os.WriteFile(f.path("text.onnx"), []byte("This is no network.\n"), 0o666))
	check(t, os.WriteFile(f.path("empty.onnx"), nil, 0o666))
	check(t, os.Mkdir(f.path("folder.onnx"), 0o777))
	for _, name := range []string{"truncated.onnx", "text.onnx", "empty.onnx", "folder.onnx", "missing.onnx"} {
		bad := f.path(name)
		for _, args := range [][]string{
			{"inspect", bad},
			{"inspect", bad, "--json"},
			{"quantize", bad, "-o", f.path("out.onnx"), "--step", "paper"},
			{"quantize", bad, "-o", f.path("out.onnx"), "--calib", f.path("photos")},
			{"calibrate", bad, "-o", f.path("profile"), "--calib", f.path("photos")},
			{"validate", f.path("float.onnx"), bad, "--data", f.path("data")},
			{"validate", bad, f.path("float.onnx"), "--data", f.path("data")},
			{"upscale", bad, f.path("photos"), "-o", f.path("up")},
		} {
			t.Run(args[0]+" "+name, func(t *testing.T) {
				r := daq(args...)
				fails(t, r, exitFailed, name)
				if r.stdout != "" {
					t.Errorf("stdout %q", r.stdout)
				}
			})
		}
	}
	for _, name := range []string{"out.onnx", "profile"} {
		if exists(f.path(name)) {
			t.Errorf("%s was written", name)
		}
	}
}

func TestOutputsAreProtected(t *testing.T) {
	f := newFiles(t)
	float, photos := f.path("float.onnx"), f.path("photos")
	one := filepath.Join(photos, f.list(t, "photos")[0])
	check(t, os.WriteFile(f.path("taken"), []byte("mine"), 0o666))
	check(t, os.WriteFile(f.path("taken.png"), []byte("mine"), 0o666))
	check(t, os.Symlink(float, f.path("link.onnx")))
	before, err := os.ReadFile(float)
	check(t, err)
	quantize := []string{"quantize", float, "--step", "paper"}
	with := func(base []string, more ...string) []string { return append(slices.Clone(base), more...) }
	for _, c := range []struct {
		args []string
		want string
	}{
		{with(quantize, "-o", f.path("taken")), "--overwrite"},
		{with(quantize, "-o", float), "is what the command reads"},
		{with(quantize, "-o", f.path("link.onnx")), "is what the command reads"},
		{with(quantize, "-o", f.path("link.onnx"), "--overwrite"), "is a link or a device"},
		{with(quantize, "-o", f.path("none/out.onnx")), "does not exist: create it first"},
		{with(quantize, "-o", f.path("taken/out.onnx")), "is not a folder"},
		{with(quantize, "-o", photos), "is a folder"},
		{with(quantize, "-o", photos, "--overwrite"), "is a folder"},
		{with(quantize, "-o", f.path("out.onnx"), "--save-plan", f.path("taken")), "--overwrite"},
		{[]string{"validate", float, float, "--data", f.path("data"), "--html", f.path("taken")}, "--overwrite"},
		{[]string{"calibrate", float, "--calib", photos, "-o", f.path("taken")}, "--overwrite"},
		{[]string{"upscale", float, one, "-o", f.path("taken.png")}, "--overwrite"},
		{[]string{"upscale", float, one, "-o", one}, "is what the command reads"},
		{[]string{"upscale", float, photos, "-o", photos}, "is the folder of the pictures"},
		{[]string{"upscale", float, photos, "-o", photos, "--overwrite"}, "is the folder of the pictures"},
		{[]string{"upscale", float, photos, "-o", f.path("none/deep")}, "none/deep"},
		{[]string{"demo", "-o", photos}, "has files already"},
		{[]string{"demo", "-o", f.path("taken")}, "taken"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) { fails(t, daq(c.args...), exitFailed, c.want) })
	}
	fails(t, daq(with(quantize, "-o", f.path("x"), "--save-plan", f.path("./x"))...), exitUsage, "two outputs")
	fails(t, daq("upscale", float, one, "-o", f.path("picture.jpg")), exitUsage, "ends in .png")
	for path, want := range map[string]string{f.path("taken"): "mine", f.path("taken.png"): "mine", float: string(before)} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s changed (%v)", path, err)
		}
	}
	// With --overwrite even the network itself may be replaced.
	must(t, with(quantize, "-o", float, "--overwrite")...)
	if m, err := onnx.Load(float); err != nil || m.Meta("daq.weight_bits") != "4" {
		t.Errorf("overwritten network: %v", err)
	}
}

func TestQuantize(t *testing.T) {
	f := newFiles(t)
	float, photos := f.path("float.onnx"), f.path("photos")
	text := must(t, "quantize", float, "-o", f.path("a.onnx"), "--calib", photos, "--save-plan", f.path("plan.json"))
	for _, want := range []string{"17 convolutions", "weights 4, activations 4", "calibrated", "opset", "smaller", "the body"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	// The saved plan, given back, makes the same network; so do other threads.
	must(t, "quantize", float, "-o", f.path("b.onnx"), "--plan", f.path("plan.json"))
	must(t, "quantize", float, "-o", f.path("c.onnx"), "--calib", photos, "--threads", "1")
	same(t, f.path("a.onnx"), f.path("c.onnx"))
	a := slices.DeleteFunc(convolutionsOf(t, f.path("a.onnx")), func(c string) bool {
		return strings.HasPrefix(c, "output_correction") // only pictures tell it
	})
	if b := convolutionsOf(t, f.path("b.onnx")); !slices.Equal(a, b) {
		t.Errorf("by plan %v, before %v", b, a)
	}

	// An edited plan is obeyed, or refused by name.
	plan, err := os.ReadFile(f.path("plan.json"))
	check(t, err)
	edit := func(name, from, to string) string {
		if !bytes.Contains(plan, []byte(from)) {
			t.Fatalf("the plan has no %s: %.300s", from, plan)
		}
		check(t, os.WriteFile(f.path(name), bytes.Replace(plan, []byte(from), []byte(to), 1), 0o666))
		return f.path(name)
	}
	must(t, "quantize", float, "-o", f.path("edited.onnx"), "--plan", edit("edited.json", `"bits": 4`, `"bits": 2`))
	if before, after := convolutionsOf(t, f.path("b.onnx")), convolutionsOf(t, f.path("edited.onnx")); !strings.HasSuffix(before[1], "W4 A4") || !strings.HasSuffix(after[1], "W4 A2") {
		t.Errorf("edited from %q to %q", before[1], after[1])
	}
	fails(t, daq("quantize", float, "-o", f.path("d.onnx"), "--plan", edit("bad.json", `"bits": 4`, `"bits": 11`)), exitFailed, "bad.json", "11 bits")
	fails(t, daq("quantize", float, "-o", f.path("d.onnx"), "--plan", edit("odd.json", `"bits": 4`, `"bit": 4`)), exitFailed, "odd.json", "bit")
	fails(t, daq("quantize", float, "-o", f.path("d.onnx"), "--plan", float), exitFailed, "float.onnx", "plan")

	var j struct {
		Convolutions   int    `json:"convolutions"`
		WeightBits     string `json:"weight_bits"`
		ActivationBits string `json:"activation_bits"`
		QuantizedBytes int64  `json:"quantized_bytes"`
	}
	decode(t, must(t, "quantize", float, "-o", f.path("e.onnx"), "--step", "wide", "--weight-bits", "2", "--activation-bits", "5", "--exclude", "body.0", "--json"), &j)
	if j.Convolutions != 15 || j.WeightBits != "2" || j.ActivationBits != "5" || j.QuantizedBytes != fileBytes(f.path("e.onnx")) {
		t.Errorf("%+v", j)
	}
	fails(t, daq("quantize", float, "-o", f.path("d.onnx"), "--step", "paper", "--include", "nothing"), exitFailed, "none of the")
	fails(t, daq("quantize", float, "-o", f.path("d.onnx"), "--calib", f.path("none")), exitFailed, "none")
	fails(t, daq("quantize", float, "-o", f.path("d.onnx"), "--step", "paper", "--opset", "9"), exitFailed, "opset 9")
	if exists(f.path("d.onnx")) {
		t.Error("a failed command wrote d.onnx")
	}
	r := daq("quantize", float, "-o", f.path("g.onnx"), "--step", "paper", "--calib", photos)
	if r.code != exitDone || !strings.HasPrefix(r.stderr, "note: ") {
		t.Errorf("needless --calib: %+v", r)
	}
}

func TestInspect(t *testing.T) {
	f := newFiles(t)
	text := must(t, "inspect", f.path("float.onnx"))
	for _, want := range []string{"ai.onnx opset 17", "float[", "would be (body)", "with --layers all", "Conv", "parameters"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if list := convolutionsOf(t, f.quantized(t)); len(list) != 20 || !strings.HasSuffix(list[1], "W3 A3") || !strings.HasSuffix(list[0], "W0 A0") {
		t.Errorf("convolutions %q", list)
	}
	if text := must(t, "inspect", f.path("quantized.onnx"), "--text"); !strings.Contains(text, "ir_version") || !strings.Contains(text, "daq.Quantize") {
		t.Errorf("text form %.300q", text)
	}
	if text := must(t, "inspect", f.path("quantized.onnx")); !strings.Contains(text, "weights 3 bits, input 3 bits") || !strings.Contains(text, "daq.weight_bits = 3") {
		t.Errorf("%q", text)
	}
}

func TestCompare(t *testing.T) {
	f := newFiles(t)
	float, quantized := f.path("float.onnx"), f.quantized(t)
	text := must(t, "compare", float, quantized, "--data", f.path("photos"))
	if !strings.Contains(text, "tensors compared on") || !strings.Contains(text, "output") {
		t.Errorf("%q", text)
	}
	var c converter.Comparison
	check(t, json.Unmarshal([]byte(must(t, "compare", float, float, "--data", f.path("photos"), "--json", "--min-sqnr", "199")), &c))
	if len(c.Tensors) == 0 || c.Pictures == 0 {
		t.Errorf("%+v", c)
	}
	r := daq("compare", float, quantized, "--data", f.path("photos"), "--min-sqnr", "150")
	if r.code != exitFailed || !strings.Contains(r.stderr, "--min-sqnr: it is the first") {
		t.Errorf("%+v", r)
	}
	fails(t, daq("compare", float, quantized), exitUsage, "--data")
	fails(t, daq("compare", float), exitUsage, "B.onnx")
	fails(t, daq("compare", float, "--dump", f.path("photos")), exitFailed, "no .npy files")
	fails(t, daq("compare", float, quantized, "--data", f.path("nowhere")), exitFailed, "nowhere")
}

// What is told of channels that are gone.
func TestPrunedTexts(t *testing.T) {
	var out strings.Builder
	to := &terminal{out: &out}
	check(t, (&quantizeResult{Pruned: &converter.Pruned{Channels: 16, Of: 64, Tensors: 1}}).print(to, &quantizeFlags{}))
	check(t, printComparison(to, &converter.Comparison{Tensors: []converter.TensorDifference{{A: "a", By: "name", Channels: 48, Of: 64}}}))
	for _, want := range []string{"16 of 64 channels of 1 tensors", "same, 48 of 64 channels"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out.String(), want)
		}
	}
	if text := abridged(strings.Repeat("ä", 100)); text != strings.Repeat("ä", 80)+"... (100 characters)" || abridged("daq") != "daq" {
		t.Errorf("%q", text)
	}
}

func TestInterrupted(t *testing.T) {
	f := newFiles(t)
	float := f.path("float.onnx")
	quantized := f.quantized(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, args := range [][]string{
		{"quantize", float, "-o", f.path("out"), "--calib", f.path("photos"), "--save-plan", f.path("plan")},
		{"quantize", float, "-o", f.path("out"), "--step", "paper"},
		{"calibrate", float, "-o", f.path("out"), "--calib", f.path("photos")},
		{"validate", float, quantized, "--data", f.path("data"), "--html", f.path("out")},
		{"upscale", float, f.path("photos"), "-o", f.path("up")},
		{"demo", "-o", f.path("demo")},
	} {
		t.Run(args[0], func(t *testing.T) {
			r := daqContext(ctx, args...)
			if r.code != exitFailed || r.stderr != "daq: interrupted\n" || r.stdout != "" {
				t.Errorf("%+v", r)
			}
		})
	}
	if exists(f.path("out")) || exists(f.path("plan")) {
		t.Error("an interrupted command wrote its output")
	}
	if got := f.list(t, "."); slices.ContainsFunc(got, func(n string) bool { return strings.HasPrefix(n, ".") }) {
		t.Errorf("left behind: %q", got)
	}
}

func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("quantizes and validates the built-in network")
	}
	f := files(t.TempDir())
	text := must(t, "demo", "-o", f.path("demo"))
	for _, name := range []string{"report.html", "quantized.onnx", "plan.json", "edsr_tiny_x2.onnx", "upscaled", "images", "README.md"} {
		if !exists(f.path("demo/" + name)) {
			t.Errorf("demo wrote no %s", name)
		}
	}
	if n := len(f.list(t, "demo/upscaled")); n != 5 || !strings.Contains(text, "open this first") {
		t.Errorf("%d pictures, %q", n, text)
	}
}

// full fails as a full disk does.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestFullDiskBehindStdout(t *testing.T) {
	f := newFiles(t)
	for _, args := range [][]string{{"inspect", f.path("float.onnx")}, {"version"}, {}, {"inspect", f.path("float.onnx"), "--text"}} {
		var stderr bytes.Buffer
		if code := execute(context.Background(), args, full{}, io.Writer(&stderr)); code != exitFailed || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("daq %v: exit %d, %q", args, code, stderr.String())
		}
	}
}
