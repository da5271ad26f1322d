package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestValidateJSON(t *testing.T) {
	f := newFiles(t)
	args := []string{"validate", f.path("float.onnx"), f.quantized(t), "--data", f.path("data"), "--json"}
	text := must(t, append(slices.Clone(args), "--max-drop", "5", "--min-psnr", "10")...)
	// Exactly the promised keys.
	quality := map[string]any{"psnr_y": 0.0, "ssim_y": 0.0}
	three := func(more ...string) map[string]any {
		m := map[string]any{"float": quality, "quantized": quality, "bicubic": quality}
		for _, k := range more {
			m[k] = 0.0
		}
		return m
	}
	picture := three("drop_db", "mean_shift", "width", "height")
	picture["name"] = ""
	var got any
	decode(t, text, &got)
	sameKeys(t, "", got, map[string]any{
		"images": []any{picture}, "mean": three(), "drop_db": 0.0, "mean_shift": 0.0, "scale": 0.0,
	})

	var v struct {
		Images []struct {
			Float, Quantized, Bicubic struct {
				PSNR float64 `json:"psnr_y"`
			}
			Drop float64 `json:"drop_db"`
		}
		Mean struct {
			Float, Quantized, Bicubic struct {
				PSNR float64 `json:"psnr_y"`
			}
		}
		Drop  float64 `json:"drop_db"`
		Scale int
	}
	decode(t, text, &v)
	if len(v.Images) != 2 || v.Scale != 2 {
		t.Fatalf("%s", text)
	}
	if !(v.Mean.Bicubic.PSNR > 20 && v.Mean.Float.PSNR > v.Mean.Bicubic.PSNR && v.Mean.Quantized.PSNR < v.Mean.Float.PSNR && v.Mean.Quantized.PSNR > v.Mean.Float.PSNR-3) {
		t.Errorf("implausible %+v", v.Mean)
	}

	// A broken bound: the same JSON, an error beside it.
	for _, bound := range [][]string{{"--max-drop", "0"}, {"--min-psnr", "90"}} {
		r := daq(append(slices.Clone(args), bound...)...)
		if r.stdout != text {
			t.Errorf("%v: JSON changed: %q", bound, r.stdout)
		}
		fails(t, r, exitFailed, "PSNR-Y")
	}
	fails(t, daq("validate", f.path("float.onnx"), f.path("quantized.onnx"), "--data", f.path("none")), exitFailed, "none")
}

func TestValidateTableAndReport(t *testing.T) {
	f := newFiles(t)
	text := must(t, "validate", f.path("float.onnx"), f.quantized(t), "--data", f.path("data"), "--html", f.path("report.html"))
	lines := strings.Split(text, "\n")
	if !strings.Contains(text, "mean") || !strings.Contains(text, "report.html") {
		t.Errorf("%q", text)
	}
	for _, l := range lines[2:5] { // columns begin in the same place
		if len(l) < len(lines[1]) || strings.Index(l, "dB") != strings.Index(lines[2], "dB") {
			t.Errorf("not aligned: %q under %q", l, lines[1])
		}
	}
	html, err := os.ReadFile(f.path("report.html"))
	check(t, err)
	if n := bytes.Count(html, []byte(`src="data:image/png;base64,`)); n != 10 {
		t.Errorf("%d pictures in the report, want 5 for each of 2", n)
	}
}
