package calib

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/testenv"
)

// fake networks: bicubic upscaling plus what tells the ranges apart. (The real
// 14 networks are checked where the runtime is at hand.)
func TestRecogniseRange(t *testing.T) {
	hr, err := imaging.ReadFile(filepath.Join(testenv.Shared(t), "data", "images", "Set5", "HR", "butterfly.png"))
	if err != nil {
		t.Fatal(err)
	}
	if hr, err = hr.Crop(100, 90); err != nil {
		t.Fatal(err)
	}
	network := func(scale int, f func(v float64) float64) func(context.Context, *imaging.Image) (*imaging.Image, error) {
		return func(_ context.Context, m *imaging.Image) (*imaging.Image, error) {
			out, err := imaging.Resize(m, m.Width*scale, m.Height*scale)
			if err != nil {
				return nil, err
			}
			for i, v := range out.Pix {
				out.Pix[i] = float32(f(float64(v)))
			}
			return out, nil
		}
	}
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		run   func(context.Context, *imaging.Image) (*imaging.Image, error)
		want  float32
		scale int
		err   string
	}{
		{"clips at 1", network(2, func(v float64) float64 { return min(max(v, 0), 1) }), 1, 2, ""},
		{"bias for 255", network(4, func(v float64) float64 { return v + 5*math.Sin(v/9) }), 255, 4, ""},
		{"bias for 1", network(3, func(v float64) float64 { return v + 0.1*math.Tanh(v*v*v/1e4) }), 1, 3, ""},
		{"no bias", network(1, func(v float64) float64 { return v }), 1, 1, ""},
		{"NaN beyond 1", network(2, func(v float64) float64 {
			if v > 2 {
				return math.NaN()
			}
			return v
		}), 1, 2, ""},
		{"-1..1", network(2, func(v float64) float64 { return -v }), 0, 2, "neither looks like"},
		{"NaN", network(2, func(v float64) float64 { return math.NaN() }), 0, 2, "--input-range"},
		{"both", network(2, func(v float64) float64 {
			if v > 1.5 {
				return v + 255*0.03*math.Sin(v/5)
			}
			return v + 0.03*math.Sin(v*255/3)
		}), 0, 2, "both are about as good"},
		{"fails", func(context.Context, *imaging.Image) (*imaging.Image, error) { return nil, broken }, 0, 0, "broken"},
		{"shrinks", func(_ context.Context, m *imaging.Image) (*imaging.Image, error) { return m.Crop(16, 16) }, 0, 0, "whole factor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := RecogniseRange(context.Background(), hr, c.run)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v does not say %q", err, c.err)
				}
				return
			}
			if err != nil || r.Range != c.want || r.Scale != c.scale {
				t.Errorf("%+v %v, want %v", r, err, c.want)
			}
		})
	}
	if _, err := RecogniseRange(context.Background(), imaging.New(20, 40, 3), nil); err == nil {
		t.Error("20x40 pixels are too small")
	}
}
