package converter

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// Every float network gives the PSNR-Y on Set5 that the data README states. The
// two luma networks were measured there on luma that was never rounded to 8 bits.
func TestPublishedPSNR(t *testing.T) {
	if testing.Short() {
		t.Skip("under the race detector 14 networks take minutes")
	}
	for _, net := range testenv.Models(t) {
		m, err := onnx.Load(net.Path)
		if err != nil {
			t.Fatal(err)
		}
		network, err := Open(context.Background(), m, calib.Input{}, runtime.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if network.Range != net.Range || (network.Channels == 1) != net.Y {
			t.Errorf("%s: recognised as range %g, %d channels", net.Name, network.Range, network.Channels)
		}
		got, tolerance := set5(t, network), 0.01
		if net.Y {
			tolerance = 0.15
		}
		t.Logf("%s: %.3f dB, published %.2f", net.Name, got, net.PSNR)
		if math.Abs(got-net.PSNR) > tolerance+0.005 { // the figure has two decimals
			t.Errorf("%s: %.3f dB, want %.2f", net.Name, got, net.PSNR)
		}
	}
}

// The paper's rule on EDSR_x2 gives what a torch prototype of it gave, when sums
// are made in the order of their definition, as there: at few bits one tie
// changes all later layers. Bird at 3 bits gives 39.79 to 39.96 dB in ONNX Runtime
// when its pixels change by 3e-7, and 39.59 to 39.95 here by way of adding.
func TestPaperRule(t *testing.T) {
	if testing.Short() {
		t.Skip("under the race detector Set5 takes minutes")
	}
	float, err := onnx.Load(testenv.ModelNamed(t, "EDSR_x2").Path)
	if err != nil {
		t.Fatal(err)
	}
	for bits, want := range map[int]float64{4: 36.87, 3: 36.07, 2: 34.87} {
		q, err := Quantize(context.Background(), float, nil, options(bits, passes.Paper, 0))
		if err != nil {
			t.Fatal(err)
		}
		network, err := Open(context.Background(), q.Model, calib.Input{}, runtime.Options{Strict: true})
		if err != nil {
			t.Fatal(err)
		}
		got := set5(t, network)
		t.Logf("%d bits: %.3f dB, prototype %.2f", bits, got, want)
		if math.Abs(got-want) > 0.05 {
			t.Errorf("%d bits: %.3f dB, want %.2f within 0.05", bits, got, want)
		}
	}
}

// In integers a quantized network is as good as executed node by node. Better is no
// mistake: a tie moves woman by 0.08 dB.
func TestIntegersOnSet5(t *testing.T) {
	if testing.Short() {
		t.Skip("under the race detector Set5 takes minutes")
	}
	for _, c := range []struct {
		network string
		bits    int
		only    []string
	}{{"EDSR_x2", 4, nil}, {"EDSR_x2", 2, nil}, {"RDN_x2", 4, []string{"butterfly"}}, {"RDN_x2", 2, []string{"butterfly"}}} {
		float, err := onnx.Load(testenv.ModelNamed(t, c.network).Path)
		if err != nil {
			t.Fatal(err)
		}
		q, err := Quantize(context.Background(), float, nil, options(c.bits, passes.Paper, 0))
		if err != nil {
			t.Fatal(err)
		}
		var psnr [2]float64
		for i, o := range []runtime.Options{{Exact: true}, {}} {
			network, err := Open(context.Background(), q.Model, calib.Input{}, o)
			if err != nil {
				t.Fatal(err)
			}
			psnr[i] = set5(t, network, c.only...)
		}
		t.Logf("%s, %d bits: %.3f dB, node by node %.3f", c.network, c.bits, psnr[1], psnr[0])
		if !(psnr[0]-psnr[1] <= 0.02) {
			t.Errorf("%s, %d bits: %.3f dB, node by node %.3f", c.network, c.bits, psnr[1], psnr[0])
		}
	}
}

// set5 returns the mean PSNR-Y of the pictures of Set5, or of those with such names.
func set5(t *testing.T, n *calib.Network, only ...string) float64 {
	t.Helper()
	pairs, err := calib.OpenPairs(filepath.Join(testenv.Shared(t), "data", "images", "Set5"), n.Scale)
	if err != nil {
		t.Fatal(err)
	}
	sum, count := 0.0, 0
	err = pairs.Each(context.Background(), func(p calib.Pair) error {
		if only != nil && !slices.Contains(only, p.Name) {
			return nil
		}
		count++
		up, err := n.Upscale(context.Background(), p.LR)
		if err != nil {
			return err
		}
		q, err := quality(up, p.HR, n.Scale)
		sum += q.PSNR
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum / float64(count)
}
