//go:build runtimes && unix

package interop

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/metric"
	"github.com/daq-sr/daq/internal/peer"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// TestWeb lets the page of interop/web enlarge a picture with what the program
// emits, in Chromium, and compares its pixels with those of our runtime: equal
// within one level, or with the same noise where quantization is dynamic.
func TestWeb(t *testing.T) {
	browser, err := peer.Start(peer.Runtime{Name: "ONNX Runtime Web", Engine: "web"})
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	for _, net := range []testenv.Model{builtin(), testenv.ModelNamed(t, "EDSR_x2")} {
		for _, f := range forms {
			if !f.runtimes.MatchString("web") {
				continue
			}
			t.Run(net.Name+" "+f.name, func(t *testing.T) {
				float := load(t, net)
				model, err := f.make(float, calibration(t, open(t, net)))
				if err != nil {
					t.Fatal(err)
				}
				theirs, ours := page(t, browser, net, model), upscaled(t, net, model, f.dynamic || f.name == "float")
				if theirs.Width != ours.Width || theirs.Height != ours.Height || theirs.Channels != 3 {
					t.Fatalf("the page shows %dx%d pixels, want %dx%d", theirs.Width, theirs.Height, ours.Width, ours.Height)
				}
				differ, beyond, most := compareCodes8(ours, theirs)
				t.Logf("%d of %d values differ, %d by more than one level, by at most %d of 255", differ, len(ours.Pix), beyond, most)
				switch {
				case f.dynamic && most > 1:
					sameNoise(t, ours, theirs, upscaled(t, net, float, true))
				case f.name == "tensorrt 8 bits" && beyond*100 <= len(ours.Pix):
					// Its first quantizer reads floats, and has ties.
				case !f.dynamic && most > 1:
					t.Errorf("pixels differ by %d of 255, want at most 1", most)
				}
			})
		}
	}
	if _, err := browser.End(); err != nil {
		t.Error(err)
	}
}

// page returns what the page shows.
func page(t *testing.T, browser *peer.Process, net testenv.Model, model *onnx.Model) *imaging.Image {
	t.Helper()
	network, out := filepath.Join(t.TempDir(), "network.onnx"), filepath.Join(t.TempDir(), "out.png")
	if err := model.Save(network); err != nil {
		t.Fatal(err)
	}
	if err := browser.Enlarge(network, smallPicture(t), net.Range, out); err != nil {
		t.Fatal(err)
	}
	m, err := imaging.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// upscaled returns what our runtime makes of the same picture: in integers, which are exact,
// or strictly without Winograd, whose rounding moves more values over the border of two codes.
func upscaled(t *testing.T, net testenv.Model, model *onnx.Model, strict bool) *imaging.Image {
	t.Helper()
	low, err := imaging.ReadFile(smallPicture(t))
	if err != nil {
		t.Fatal(err)
	}
	view, err := converter.Open(context.Background(), model, calib.Input{Range: net.Range}, runtime.Options{Strict: strict})
	if err != nil {
		t.Fatal(err)
	}
	m, err := view.Upscale(context.Background(), low)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func smallPicture(t *testing.T) string {
	return filepath.Join(testenv.Shared(t), "data", "images", "Set5", "LRx4", "butterfly.png")
}

// compareCodes8 counts the 8-bit values that differ, and that do by more than one level.
func compareCodes8(a, b *imaging.Image) (differ, beyond, most int) {
	for i, v := range a.Pix {
		d := int(imaging.Code8(v)) - int(imaging.Code8(b.Pix[i]))
		if d = max(d, -d); d > 0 {
			differ++
		}
		if d > 1 {
			beyond++
		}
		most = max(most, d)
	}
	return differ, beyond, most
}

// sameNoise checks that two quantized pictures are equally far from that of the
// float network.
func sameNoise(t *testing.T, ours, theirs, float *imaging.Image) {
	t.Helper()
	a, err := metric.PSNR(ours, float, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := metric.PSNR(theirs, float, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("noise against float %.2f and %.2f dB", a, b)
	if math.Abs(a-b) > 0.5 {
		t.Errorf("quantization noise is %.2f dB here and %.2f dB in the browser", a, b)
	}
}
