package calib

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/models"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// A picture in tiles is that in one piece, whatever goes beside the network:
// chroma, alpha, gray, enlargement in front.
func TestPicturesInTiles(t *testing.T) {
	m, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	networks := map[string]*onnx.Model{"builtin": m}
	for _, name := range []string{"VDSR_Y_x1", "LapSRN_Y_x2"} {
		net := testenv.ModelNamed(t, name)
		if networks[name], err = onnx.Load(net.Path); err != nil {
			t.Fatal(err)
		}
	}
	photo, err := imaging.ReadFile(filepath.Join(testenv.Shared(t), "data", "images", "Set5", "LRx2", "woman.png"))
	if err != nil {
		t.Fatal(err)
	}
	photo = photo.Region(3, 5, 90, 113)
	clear := photo.Region(0, 0, 90, 113)
	clear.Alpha = make([]float32, 90*113)
	for i := range clear.Alpha {
		clear.Alpha[i] = float32(i%90) / 90
	}
	for name, m := range networks {
		n, err := Open(t.Context(), m, Input{Range: 1}, runtime.Options{}, photo)
		if err != nil {
			t.Fatal(err)
		}
		for form, in := range map[string]*imaging.Image{"colour": photo, "alpha": clear, "gray": photo.Y()} {
			want, err := n.onePiece(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			n.MaxBytes = int64(n.perPixel * 90 * 113 * float64(n.Enlarge*n.Enlarge))
			if n.fits(in.Height, in.Width) {
				t.Fatalf("%s: the picture fits", name)
			}
			got, err := n.Upscale(t.Context(), in)
			n.MaxBytes = 0
			if err != nil {
				t.Fatal(err)
			}
			if got.Width != want.Width || got.Height != want.Height || got.Channels != want.Channels || (got.Alpha == nil) != (want.Alpha == nil) || got.Depth != want.Depth {
				t.Fatalf("%s, %s: %dx%d, want %dx%d", name, form, got.Width, got.Height, want.Width, want.Height)
			}
			worst := 0.0
			for i, v := range want.Pix {
				worst = max(worst, math.Abs(float64(v-got.Pix[i])))
			}
			for i, v := range want.Alpha {
				worst = max(worst, math.Abs(float64(v-got.Alpha[i])))
			}
			if worst > 1e-5 {
				t.Errorf("%s, %s: the largest difference is %g", name, form, worst)
			}
		}
	}
}
