package metric

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/testenv"
)

// reference.json comes from numpy and scikit-image (testdata/make.py).
func TestAgainstReference(t *testing.T) {
	data, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name                string
		Border              int
		PSNR, SSIM, Skimage float64
	}
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) < 4 {
		t.Fatal(len(cases), err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			a, b := read(t, "testdata/"+c.Name+"_a.png"), read(t, "testdata/"+c.Name+"_b.png")
			psnr, err := PSNR(a, b, c.Border)
			if err != nil || math.Abs(psnr-c.PSNR) > 1e-9 {
				t.Errorf("PSNR %.12f, %v, want %.12f", psnr, err, c.PSNR)
			}
			ssim, err := SSIM(a, b, c.Border)
			if err != nil || math.Abs(ssim-c.SSIM) > 1e-9 || math.Abs(ssim-c.Skimage) > 1e-9 {
				t.Errorf("SSIM %.12f, %v, want %.12f and %.12f", ssim, err, c.SSIM, c.Skimage)
			}
			if rgb, _ := SSIM(a.ToRGB(), b, c.Border); math.Abs(rgb-ssim) > 1e-12 {
				t.Errorf("SSIM of gray as RGB %v, want %v", rgb, ssim)
			}
		})
	}
}

// Published bicubic PSNR on Y of Set5: 33.66, 30.39, 28.42 dB at x2, x3, x4.
func TestBicubicOfSet5IsThePublishedFigure(t *testing.T) {
	dir := filepath.Join(testenv.Shared(t), "data", "images", "Set5")
	for scale, want := range map[int]float64{2: 33.66, 3: 30.39, 4: 28.42} {
		sum := 0.0
		names := []string{"baby", "bird", "butterfly", "head", "woman"}
		for _, name := range names {
			hr, err := read(t, filepath.Join(dir, "HR", name+".png")).CropToMultiple(scale)
			if err != nil {
				t.Fatal(err)
			}
			lr, err := imaging.Downscale8(hr, scale)
			if err != nil {
				t.Fatal(err)
			}
			up, err := imaging.Resize8(lr, hr.Width, hr.Height)
			if err != nil {
				t.Fatal(err)
			}
			psnr, err := PSNR(up, hr, scale)
			if err != nil {
				t.Fatal(err)
			}
			sum += psnr
		}
		if mean := sum / float64(len(names)); math.Abs(mean-want) > 0.05 {
			t.Errorf("x%d: %.3f dB, published %.2f", scale, mean, want)
		} else {
			t.Logf("x%d: %.3f dB, published %.2f", scale, mean, want)
		}
	}
}

func TestEqualPictures(t *testing.T) {
	m := read(t, "testdata/color_a.png")
	psnr, err := PSNR(m, m, 2)
	if err != nil || !math.IsInf(psnr, 1) {
		t.Error(psnr, err)
	}
	if ssim, err := SSIM(m, m, 2); err != nil || math.Abs(ssim-1) > 1e-12 {
		t.Error(ssim, err)
	}
	data, err := json.Marshal([]Decibels{Decibels(psnr), 37.5})
	if err != nil || string(data) != "[null,37.5]" {
		t.Error(string(data), err)
	}
	var back []Decibels
	if err := json.Unmarshal(data, &back); err != nil || !math.IsInf(float64(back[0]), 1) || back[1] != 37.5 {
		t.Error(back, err)
	}
}

func TestQuantizesFirst(t *testing.T) {
	a, b := imaging.New(16, 16, 3), imaging.New(16, 16, 3)
	for i := range b.Pix {
		b.Pix[i] = 0.4 / 255
	}
	b.Pix[0] = -3 // clamped
	if psnr, err := PSNR(a, b, 0); err != nil || !math.IsInf(psnr, 1) {
		t.Error(psnr, err)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		a, b   *imaging.Image
		border int
		want   string
	}{
		{imaging.New(20, 20, 3), imaging.New(20, 21, 3), 0, "20x20 and 20x21"},
		{imaging.New(20, 20, 3), imaging.New(20, 20, 3), 10, "border of 10"},
		{imaging.New(20, 20, 3), imaging.New(20, 20, 3), -1, "negative"},
	} {
		for _, f := range []func(a, b *imaging.Image, border int) (float64, error){PSNR, SSIM} {
			if _, err := f(c.a, c.b, c.border); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
		}
	}
	if _, err := SSIM(imaging.New(12, 12, 1), imaging.New(12, 12, 1), 1); err == nil {
		t.Error("10x10 pixels hold no window")
	}
}

func read(t *testing.T, path string) *imaging.Image {
	t.Helper()
	m, err := imaging.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
