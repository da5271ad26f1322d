//go:build quality && unix

package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/report"
	"github.com/daq-sr/daq/internal/testenv"
)

var (
	networksFlag = flag.String("networks", "", "regular expression of networks")
	settingsFlag = flag.String("settings", "--bits 8;--bits 4", "flags of daq quantize, one row of the table each, with ; between them")
	tableFlag    = flag.String("table", "", "file for the table, as Markdown")
)

// calibrationPictures is how many of ../shared/data/images/calib, the first by
// name, the networks are quantized for.
const calibrationPictures = 8

// mostShift is how far the mean of a colour may move on Set5, in 8-bit steps.
const mostShift = 0.1

// TestQuality quantizes real networks by daq quantize and measures them by daq
// validate on Set5, each in a process of its own, and writes one table. What it
// judges: nothing fails, no colour shifts, and nothing loses much without a
// remedy being named.
func TestQuality(t *testing.T) {
	data := filepath.Join(testenv.Shared(t), "data")
	only, err := regexp.Compile(*networksFlag)
	check(t, err)
	dir := t.TempDir()
	run := &qualityRun{T: t, dir: dir, daq: filepath.Join(dir, "daq"), data: data}
	build := exec.Command("go", "build", "-o", run.daq, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	table := &bytes.Buffer{}
	both := io.MultiWriter(table, os.Stdout)
	fmt.Fprint(both, "| network | quantize | float | PSNR-Y | drop | shift | bits W / A | file | quantize | memory | validate | memory |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, m := range testenv.Models(t) {
		if !only.MatchString(m.Name) {
			continue
		}
		for _, settings := range strings.Split(*settingsFlag, ";") {
			run.row(both, m, strings.TrimSpace(settings))
		}
	}
	fmt.Fprintf(both, "\nSet5, mean PSNR-Y in dB; shift of the mean colour in steps of 1/255; %d threads.\n", goruntime.GOMAXPROCS(0))
	for _, n := range run.notes {
		fmt.Fprintf(both, "\n%s\n", n)
	}
	if *tableFlag != "" {
		check(t, os.WriteFile(*tableFlag, table.Bytes(), 0o666))
	}
}

type qualityRun struct {
	*testing.T
	dir, daq, data string
	notes          []string
}

// row measures one network with one set of flags.
func (r *qualityRun) row(w io.Writer, m testenv.Model, settings string) {
	out := filepath.Join(r.dir, m.Name+".onnx")
	quantize := []string{"quantize", m.Path, "-o", out, "--overwrite", "--json", "--calib", r.calibration(m.Scale)}
	made := r.command(append(quantize, strings.Fields(settings)...))
	measured := r.command([]string{"validate", m.Path, out, "--data", filepath.Join(r.data, "images", "Set5"), "--json"})
	var q quantizeResult
	var v struct {
		Mean struct {
			Float, Quantized struct {
				PSNR float64 `json:"psnr_y"`
			}
		}
		Drop  float64 `json:"drop_db"`
		Shift float64 `json:"mean_shift"`
	}
	decode(r.T, made.stdout, &q)
	decode(r.T, measured.stdout, &v)
	fmt.Fprintf(w, "| %s | `%s` | %.2f | %.2f | %.2f | %+.3f | %s / %s | %s | %.0f s | %.0f MiB | %.0f s | %.0f MiB |\n",
		m.Name, settings, v.Mean.Float.PSNR, v.Mean.Quantized.PSNR, v.Drop, v.Shift, q.WeightBits, q.ActivationBits,
		report.Bytes(q.QuantizedBytes), made.seconds, made.mebibytes, measured.seconds, measured.mebibytes)
	notes := slices.Concat(made.notes, measured.notes)
	for _, n := range notes {
		r.notes = append(r.notes, fmt.Sprintf("%s `%s`: %s", m.Name, settings, n))
	}
	if math.Abs(v.Shift) > mostShift {
		r.Errorf("%s %s: the mean of a colour moved by %.3f", m.Name, settings, v.Shift)
	}
	if v.Drop > converter.MuchDrop && len(notes) == 0 {
		r.Errorf("%s %s loses %.2f dB and says nothing", m.Name, settings, v.Drop)
	}
}

type finished struct {
	stdout             string
	notes              []string
	seconds, mebibytes float64 // of the process: wall clock, peak
}

func (r *qualityRun) command(args []string) finished {
	var stdout, stderr bytes.Buffer
	c := exec.Command(r.daq, args...)
	c.Stdout, c.Stderr = &stdout, &stderr
	start := time.Now()
	if err := c.Run(); err != nil {
		r.Fatalf("daq %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	f := finished{stdout: stdout.String(), seconds: time.Since(start).Seconds()}
	for _, line := range strings.Split(strings.TrimSpace(stderr.String()), "\n") {
		if line != "" {
			f.notes = append(f.notes, line)
		}
	}
	peak := float64(c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / (1 << 10)
	if goruntime.GOOS == "darwin" {
		peak /= 1 << 10 // bytes there, KiB elsewhere
	}
	f.mebibytes = peak
	return f
}

// calibration returns a folder of the calibration pictures for a scale.
func (r *qualityRun) calibration(scale int) string {
	from := filepath.Join(r.data, "images", "calib", fmt.Sprintf("LRx%d", max(scale, 2)))
	to := filepath.Join(r.dir, filepath.Base(from))
	if _, err := os.Stat(to); err == nil {
		return to
	}
	check(r.T, os.Mkdir(to, 0o777))
	entries, err := os.ReadDir(from)
	check(r.T, err)
	for _, e := range entries[:calibrationPictures] {
		picture, err := os.ReadFile(filepath.Join(from, e.Name()))
		check(r.T, err)
		check(r.T, os.WriteFile(filepath.Join(to, e.Name()), picture, 0o666))
	}
	return to
}
