//go:build (runtimes || peers) && unix

package interop

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/metric"
	"github.com/daq-sr/daq/internal/npy"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/runtime"
)

func open(t *testing.T, net testenv.Model) *calib.Network {
	t.Helper()
	view, err := converter.Open(context.Background(), load(t, net), calib.Input{Range: net.Range}, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// photographs are the same pictures as a folder and as arrays.
type photographs struct {
	name   string
	dir    string
	arrays []string
}

// photos returns the first n calibration photographs, or the middle of each, as
// often as times says.
func photos(t *testing.T, view *calib.Network, n, crop, times int) photographs {
	t.Helper()
	low := max(view.Scale/view.Enlarge, 2)
	images, err := calib.OpenDataset(filepath.Join(testenv.Shared(t), "data", "images", "calib", fmt.Sprintf("LRx%d", low)), 1)
	if err != nil {
		t.Fatal(err)
	}
	p := photographs{name: fmt.Sprintf("%d whole", n), dir: t.TempDir()}
	if crop > 0 {
		p.name = fmt.Sprintf("%d of %dx%[2]d", n, crop)
	}
	if times > 1 {
		p.name += fmt.Sprintf(", %d times", times)
	}
	arrays := t.TempDir()
	for i := range min(n, len(images.Names())) {
		m, err := images.Image(i)
		if err != nil {
			t.Fatal(err)
		}
		if crop > 0 {
			m = middle(m, crop)
		}
		x, err := view.Tensor(m)
		if err != nil {
			t.Fatal(err)
		}
		array := filepath.Join(arrays, fmt.Sprintf("%02d.npy", i))
		if err := npy.Write(array, x.Shape, x.Data.([]float32)); err != nil {
			t.Fatal(err)
		}
		for k := range times {
			if err := imaging.WriteFile(filepath.Join(p.dir, fmt.Sprintf("%02d_%d.png", i, k)), m); err != nil {
				t.Fatal(err)
			}
			p.arrays = append(p.arrays, array)
		}
	}
	return p
}

func middle(m *imaging.Image, side int) *imaging.Image {
	w, h := min(side, m.Width), min(side, m.Height)
	out := imaging.New(w, h, m.Channels)
	out.Depth = m.Depth
	x, y := (m.Width-w)/2, (m.Height-h)/2
	for c := range m.Channels {
		from, to := m.Plane(c), out.Plane(c)
		for row := range h {
			copy(to[row*w:(row+1)*w], from[(y+row)*m.Width+x:])
		}
	}
	return out
}

// psnrY compares a network's output with the original, on Y.
func psnrY(view *calib.Network, y *runtime.Tensor, original *imaging.Image) (float64, error) {
	out := imaging.New(y.Shape[3], y.Shape[2], y.Shape[1])
	for i, v := range y.Data.([]float32) {
		v /= view.Range
		if view.Channels == 1 { // from the range of luma to that of gray
			v = (v*255 - 16) / 219
		}
		out.Pix[i] = v
	}
	return metric.PSNR(out, original, view.Scale)
}
