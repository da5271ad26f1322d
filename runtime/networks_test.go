package runtime

import (
	"context"
	"fmt"
	"image"
	_ "image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/daq-sr/daq/internal/npy"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
)

// TestNetworks runs every real network here and in ONNX Runtime, on a part of a
// photograph and on a batch of two parts with noise, of odd sizes. Pure noise is
// no use: PAN_x4 answers it with values of 1e21 that the last bit of the input
// changes, in ONNX Runtime as here.
func TestNetworks(t *testing.T) {
	python := testenv.Python(t)
	for _, m := range testenv.Models(t) {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			channels := 3
			if m.Y {
				channels = 1
			}
			images := filepath.Join(testenv.Shared(t), "data", "images", "Set5", "LRx2")
			photo := crop(t, filepath.Join(images, "butterfly.png"), channels, 37, 29, m.Range)
			batch := noise(2, channels, 24, 40, m.Range/20)
			for i, name := range []string{"bird.png", "woman.png"} {
				part := crop(t, filepath.Join(images, name), channels, 24, 40, m.Range).Data.([]float32)
				for k, v := range part {
					batch.Data.([]float32)[i*len(part)+k] += v
				}
			}
			for _, in := range []*Tensor{photo, batch} {
				want := ort(t, python, m.Path, in)
				for _, o := range []Options{{Threads: 2}, {Threads: 1, Strict: true}} {
					got := runFile(t, m.Path, in, o)
					worst := compareFloats(t, got, want)
					t.Logf("%v strict %v: largest error %.2e of the range", in.Shape, o.Strict, worst)
					if !(worst <= 1e-4) {
						t.Errorf("%v strict %v: largest error %.2e of the range exceeds 1e-4", in.Shape, o.Strict, worst)
					}
				}
			}
		})
	}
}

// crop returns part of a photograph as NCHW with values from 0 to top; one
// channel is luma.
func crop(t *testing.T, path string, channels, h, w int, top float32) *Tensor {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]float32, channels*h*w)
	for y := range h {
		for x := range w {
			r, g, b, _ := img.At(20+x, 30+y).RGBA()
			rgb := [3]float32{float32(r), float32(g), float32(b)}
			if channels == 1 {
				rgb[0] = 0.299*rgb[0] + 0.587*rgb[1] + 0.114*rgb[2]
			}
			for c := range channels {
				data[(c*h+y)*w+x] = rgb[c] / 65535 * top
			}
		}
	}
	return &Tensor{Type: onnx.Float, Shape: []int{1, channels, h, w}, Data: data}
}

func noise(n, c, h, w int, top float32) *Tensor {
	data := make([]float32, n*c*h*w)
	state := uint32(1)
	for i := range data {
		state = state*1664525 + 1013904223
		data[i] = float32(state>>8) / (1 << 24) * top
	}
	return &Tensor{Type: onnx.Float, Shape: []int{n, c, h, w}, Data: data}
}

// ort returns the first output of a model in ONNX Runtime.
func ort(t *testing.T, python, model string, in *Tensor) *Tensor {
	t.Helper()
	dir := t.TempDir()
	input := filepath.Join(dir, "in.npy")
	if err := npy.Write(input, in.Shape, in.Data.([]float32)); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(testenv.Root(), "interop", "run_ort.py")
	if out, err := exec.Command(python, script, model, input, "--out", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	shape, data, err := npy.Read(filepath.Join(dir, "0.npy"))
	if err != nil {
		t.Fatal(err)
	}
	return &Tensor{Type: onnx.Float, Shape: shape, Data: data}
}

func runFile(t testing.TB, path string, in *Tensor, o Options) *Tensor {
	t.Helper()
	m, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(m, o)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Run(context.Background(), map[string]*Tensor{p.Inputs()[0]: in}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out[p.Outputs()[0]]
}

// compareFloats returns the largest difference as part of the range of want.
func compareFloats(t testing.TB, got, want *Tensor) float64 {
	t.Helper()
	if !slices.Equal(got.Shape, want.Shape) {
		t.Fatalf("shape %v, want %v", got.Shape, want.Shape)
	}
	a, b := got.Data.([]float32), want.Data.([]float32)
	worst := 0.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if d != d {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst / float64(slices.Max(b)-slices.Min(b))
}

// BenchmarkEDSR is the time of EDSR_x2 on an image of 128x128.
func BenchmarkEDSR(b *testing.B) {
	m, err := onnx.Load(testenv.ModelNamed(b, "EDSR_x2").Path)
	if err != nil {
		b.Fatal(err)
	}
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			p, err := Compile(m, Options{Threads: threads})
			if err != nil {
				b.Fatal(err)
			}
			in := map[string]*Tensor{"input": noise(1, 3, 128, 128, 1)}
			for b.Loop() {
				if _, err := p.Run(context.Background(), in, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(p.PeakBytes()), "peak-bytes")
		})
	}
}
