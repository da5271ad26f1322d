//go:build quality

package passes_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

var (
	networksFlag = flag.String("networks", "^(EDSR|SRResNet|RDN)", "regular expression of networks")
	bitsFlag     = flag.Int("bits", 4, "of weights and activations")
)

// TestAblation measures on Set5 what each part of calibration and rounding gives:
// one after the other is added to the rule of the paper, then each is left out alone.
// Eight photographs, as in TestQuality.
func TestAblation(t *testing.T) {
	data := filepath.Join(testenv.Shared(t), "data", "images")
	only := regexp.MustCompile(*networksFlag)
	fmt.Print("| network | float | variant | PSNR-Y | shift |\n|---|---|---|---|---|\n")
	for _, network := range testenv.Models(t) {
		if !only.MatchString(network.Name) {
			continue
		}
		a := &ablation{T: t, name: network.Name, set5: filepath.Join(data, "Set5")}
		var err error
		a.float, err = onnx.Load(network.Path)
		a.check(err)
		a.pictures, err = calib.OpenDataset(a.first(8, filepath.Join(data, "calib", fmt.Sprintf("LRx%d", max(network.Scale, 2)))), 1)
		a.check(err)
		a.run()
	}
}

type ablation struct {
	*testing.T
	name, set5 string
	float      *onnx.Model
	pictures   *calib.Dataset
	profile    *calib.Profile
}

func (a *ablation) run() {
	off := passes.Without
	all := *off
	defer func() { *off = all }()
	a.row("paper: s(n), nearest codes", passes.Paper, nil)
	var err error
	a.profile, err = converter.Calibrate(context.Background(), a.float, a.pictures, converter.QuantizeOptions{})
	a.check(err)
	off.OffCentre, off.Room = true, true
	a.row("+ step of least error for each channel, scale for each output", passes.Calibrated, nil)
	off.OffCentre = false
	a.row("+ windows off the centre", passes.Calibrated, nil)
	off.Room = false
	a.row("+ room for unseen outliers", passes.Calibrated, nil)
	off.Compensation, off.Quieting = true, true
	a.row("+ mean into the bias", passes.Calibrated, a.pictures)
	off.Compensation = false
	a.row("+ compensated rounding", passes.Calibrated, a.pictures)
	off.Quieting = false
	a.row("all: + weights that let less noise through", passes.Calibrated, a.pictures)
	for _, part := range []struct {
		name string
		off  *bool
	}{
		{"windows off the centre", &off.OffCentre}, {"room for unseen outliers", &off.Room},
		{"the mean into the bias", &off.Mean}, {"compensated rounding", &off.Compensation},
	} {
		*part.off = true
		a.row("all without "+part.name, passes.Calibrated, a.pictures)
		*part.off = false
	}
}

// first returns a folder of the first pictures of another.
func (a *ablation) first(count int, from string) string {
	dir := a.TempDir()
	entries, err := os.ReadDir(from)
	a.check(err)
	for _, e := range entries[:count] {
		path, err := filepath.Abs(filepath.Join(from, e.Name()))
		a.check(err)
		a.check(os.Symlink(path, filepath.Join(dir, e.Name())))
	}
	return dir
}

// row quantizes by a rule, rounding for the pictures when there are any, and prints
// what Set5 says.
func (a *ablation) row(variant string, rule passes.Rule, pictures *calib.Dataset) {
	a.Helper()
	o := converter.QuantizeOptions{Settings: passes.Settings{WeightBits: *bitsFlag, ActivationBits: *bitsFlag, Rule: rule}}
	if rule == passes.Calibrated {
		o.Profile = a.profile
	}
	q, err := converter.Quantize(context.Background(), a.float, pictures, o)
	a.check(err)
	r, err := converter.Validate(context.Background(), a.float, q.Model, a.set5, converter.ValidateOptions{})
	a.check(err)
	fmt.Printf("| %s | %.2f | %s | %.2f | %+.2f |\n", a.name, r.Mean.Float.PSNR, variant, r.Mean.Quantized.PSNR, r.MeanShift)
}

func (a *ablation) check(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}
