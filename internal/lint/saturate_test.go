//go:build unix

package lint

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/peer"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
)

// saturationCases are convolutions of 4 channels with 3x3 taps; code gives the weight
// of an input channel at a tap.
var saturationCases = []struct {
	name                string
	activation, weights string
	code                func(channel, tap int) int
	saturates           bool
}{
	{"all 127", "uint8", "int8", func(int, int) int { return 127 }, true},
	{"all 127, int8 activations", "int8", "int8", func(int, int) int { return 127 }, true},
	{"all -128", "uint8", "int8", func(int, int) int { return -128 }, true},
	{"7 bits", "uint8", "int8", func(int, int) int { return 63 }, false},
	{"64 and 64", "uint8", "int8", func(int, int) int { return 64 }, false},
	{"uint8 weights", "uint8", "uint8", func(int, int) int { return 255 }, false},
	{"signs differ", "uint8", "int8", func(c, _ int) int { return 127 - 254*(c%2) }, false},
	{"channels 0 and 1", "uint8", "int8", func(c, _ int) int { return []int{127, 127, 0, 0}[c] }, true},
	{"channels 1 and 2", "uint8", "int8", func(c, _ int) int { return []int{0, 127, 127, 0}[c] }, false},
	{"neighbouring taps", "uint8", "int8", func(c, _ int) int { return []int{127, 0, 0, 0}[c] }, false},
}

// saturationGraph gives inputs of which about half have the greatest code.
func saturationGraph(i int) string {
	c := saturationCases[i]
	zero := 0
	if c.activation == "int8" {
		zero = -128
	}
	codes := []string{}
	for range 4 {
		for channel := range 4 {
			for tap := range 9 {
				codes = append(codes, fmt.Sprint(c.code(channel, tap)))
			}
		}
	}
	return text{}.typed("x", "a", c.activation, 0.001, zero).
		add("w = DequantizeLinear (k, t)\n r = Conv (a, w)", fmt.Sprintf("%s[4,4,3,3] k = {%s}, float t = {0.01}", c.weights, strings.Join(codes, ","))).
		window("r", "y", 0.1, 128).String()
}

func TestSaturation(t *testing.T) {
	o := Options{Target: namedTarget(t, "onnxruntime")}
	for i, c := range saturationCases {
		if got := len(found(t, parse(t, saturationGraph(i)), o, "u8s8-saturation")) > 0; got != c.saturates {
			t.Errorf("%s: found %v, want %v", c.name, got, c.saturates)
		}
	}
	// What is named: channels, and the worst sum.
	codes := []int8{0, 0, 100, 100, 127, 2, -128, -128}
	channels, worst := saturating(onnx.NewTensor(onnx.Int8, []int64{4, 2, 1, 1}, codes), 0, 255)
	if fmt.Sprint(channels, worst) != fmt.Sprint([]int{1, 2, 3}, 255*256) {
		t.Errorf("channels %v, worst %g", channels, worst)
	}
	// Codes of 6 bits cannot saturate.
	if channels, _ := saturating(onnx.NewTensor(onnx.Int8, []int64{1, 2, 1, 1}, []int8{127, 127}), 0, 63); len(channels) > 0 {
		t.Errorf("6-bit activations: channels %v", channels)
	}
}

// TestInteropSaturation runs these on a processor with AVX2 and without VNNI, emulated
// where this one has it.
func TestInteropSaturation(t *testing.T) {
	ort := peer.Runtime{Name: "ONNX Runtime", Engine: "ort", Python: testenv.Python(t)}
	if info, err := os.ReadFile("/proc/cpuinfo"); err != nil || strings.Contains(string(info), "vnni") || !strings.Contains(string(info), "avx2") {
		qemu, err := exec.LookPath("qemu-x86_64")
		if err != nil {
			t.Skip("this processor has VNNI, and there is no qemu-x86_64 (Debian: qemu-user)")
		}
		ort.Through = []string{qemu, "-cpu", "max"}
	}
	dir := t.TempDir()
	var paths []string
	for i := range saturationCases {
		path := filepath.Join(dir, fmt.Sprint(i, ".onnx"))
		if err := parse(t, saturationGraph(i)).Save(path); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	release, effects := inORT(t, ort, paths)
	for i, c := range saturationCases {
		if e := effects[i]; e.fails() || e.has("QLinearConv") != 1 || e.wrong() != c.saturates {
			t.Errorf("%s: difference %.3g of %.3g, rule says %v (%s)", c.name, e.Difference, e.Range, c.saturates, e.Error)
		}
	}
	t.Logf("%d convolutions in ONNX Runtime %s: %v", len(effects), release, ort.Through)
}
