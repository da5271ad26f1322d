//go:build peers && unix

package interop

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/bench"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/peer"
	"github.com/daq-sr/daq/internal/testenv"
)

// quantizer is a program that makes a quantized network of a float one.
type quantizer struct {
	name    string
	command func(net testenv.Model, out string, photos photographs) []string
}

// quantizers are ours, first, and the peers.
func quantizers() []quantizer {
	list := []quantizer{daq(8), daq(6), daq(4)}
	for _, method := range []string{"MinMax", "Percentile", "Entropy"} {
		list = append(list, quantizer{"ort " + method, func(net testenv.Model, out string, photos photographs) []string {
			script := filepath.Join(testenv.Root(), "interop", "ort_int8.py")
			args := []string{peer.Environment(".venv"), script, "--method", method, net.Path, out}
			if !vnni() {
				args = append(args[:2], append([]string{"--reduce-range"}, args[2:]...)...)
			}
			return append(args, photos.arrays...)
		}})
	}
	return append(list, quantizer{"nncf", func(net testenv.Model, out string, photos photographs) []string {
		script := filepath.Join(testenv.Root(), "interop", "nncf_int8.py")
		return append([]string{peer.Environment(".venv-peers"), script, net.Path, out}, photos.arrays...)
	}})
}

func daq(bits int) quantizer {
	return quantizer{fmt.Sprintf("daq %d bits", bits), func(net testenv.Model, out string, photos photographs) []string {
		return []string{program, "quantize", net.Path, "-o", out, "--calib", photos.dir, "--mode", "static", "--target", "onnxruntime",
			"--bits", fmt.Sprint(bits), "--quiet", "--overwrite"}
	}}
}

// program is daq as TestMain has built it.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "daq-peers-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "daq")
	build := exec.Command("go", "build", "-o", program, "github.com/daq-sr/daq/cmd/daq")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// vnni tells whether the processor multiplies bytes without saturation; without
// it ONNX Runtime's documentation wants reduced weights.
func vnni() bool {
	info, err := os.ReadFile("/proc/cpuinfo")
	return err == nil && strings.Contains(string(info), "vnni")
}

// TestPeersQuality quantizes three networks with every quantizer on the same
// photographs and measures what ONNX Runtime makes of the results.
func TestPeersQuality(t *testing.T) {
	table := newTable(t, "quality.txt", "network\tquantizer\tphotographs\twall s\tCPU s\tpeak MB\tPSNR-Y\tinteger\tORT ms\tas fast as float")
	for _, name := range []string{"EDSR_x2", "SRResNet_x4", "RDN_x2"} {
		net := testenv.ModelNamed(t, name)
		if !regexp.MustCompile(*networksFlag).MatchString(name) {
			continue
		}
		view := open(t, net)
		runs := []*run{{quantizer: "float", path: net.Path}}
		for _, q := range quantizers() {
			runs = append(runs, quantizeWithin(t, q, net, view, *photographsFlag, &table.notes))
		}
		measure(t, view, runs)
		for _, r := range runs {
			if r.err == nil {
				r.psnr = set5(t, view, r.path)
			}
			table.row("%s\t%s\t%s", name, r.quantizer, r.cells())
		}
	}
	table.print()
}

// TestPeersCost quantizes EDSR with all 27 photographs, cropped until what ONNX
// Runtime's calibrators collect fits into the memory, and with each of them ten times.
func TestPeersCost(t *testing.T) {
	table := newTable(t, "cost.txt", "quantizer\tphotographs\twall s\tCPU s\tpeak MB")
	net := testenv.ModelNamed(t, "EDSR_x2")
	view := open(t, net)
	const all, crop = 27, 144
	for _, q := range quantizers() {
		if strings.HasPrefix(q.name, "daq") && q.name != "daq 8 bits" {
			continue
		}
		r := quantizeOnce(t, q, net, photos(t, view, all, crop, 1))
		table.row("%s\t%s", q.name, r.cost())
	}
	for _, times := range []int{1, 10} {
		r := quantizeOnce(t, daq(8), net, photos(t, view, all, 0, times))
		table.row("%s\t%s", r.quantizer, r.cost())
	}
	table.print()
}

// TestPeersTime holds the time in ONNX Runtime of our 8-bit graphs against those of
// its own quantizer, on all networks.
func TestPeersTime(t *testing.T) {
	table := newTable(t, "time.txt", "network\tfloat ms\tort MinMax ms\tdaq 8 bits ms\tort integer\tdaq integer\tdaq as fast as float\tas fast as ort MinMax\tquartiles")
	for _, net := range testenv.Models(t) {
		if !regexp.MustCompile(*networksFlag).MatchString(net.Name) {
			continue
		}
		view := open(t, net)
		float := &run{quantizer: "float", path: net.Path}
		theirs := quantizeOnce(t, quantizers()[3], net, photos(t, view, 4, 128, 1)) // its time does not depend on them
		ours := quantizeOnce(t, daq(8), net, photos(t, view, *photographsFlag, 0, 1))
		measure(t, view, []*run{float, theirs, ours})
		row := fmt.Sprintf("%s\t%.1f\t%s\t%s\t%s\t%s", net.Name, bench.Median(float.ms), theirs.median(), ours.median(), theirs.integer(), ours.integer())
		if ours.err == nil {
			row += "\t" + ratio(float.ms, ours.ms)
			if theirs.err == nil {
				r := bench.RatioOf(theirs.ms, ours.ms)
				row += fmt.Sprintf("\t%s\t%.2f to %.2f", ratio(theirs.ms, ours.ms), r.Low, r.High)
			}
		}
		table.row("%s", row)
	}
	table.print()
}

// run is what a quantizer did and what came of it.
type run struct {
	quantizer   string
	photographs string
	path        string
	wall, cpu   time.Duration
	peak        int64
	err         error
	ms          []float64 // processor time of runs in ONNX Runtime on one thread
	operators   peer.Operators
	psnr        float64
	speed       float64 // time of float over this
}

// quantizeOnce runs one quantizer within the memory.
func quantizeOnce(t *testing.T, q quantizer, net testenv.Model, photos photographs) *run {
	t.Helper()
	dir := *outFlag
	if dir == "" {
		dir = t.TempDir()
	}
	dir = filepath.Join(dir, "peers")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	r := &run{quantizer: q.name, photographs: photos.name, path: filepath.Join(dir, net.Name+" "+q.name+".onnx")}
	args := q.command(net, r.path, photos)
	limit := fmt.Sprintf("ulimit -v %d && exec \"$@\"", int64(*limitFlag*(1<<20)))
	cmd := exec.Command("sh", append([]string{"-c", limit, "sh"}, args...)...)
	var said strings.Builder
	cmd.Stderr = &said
	start := time.Now()
	r.err = cmd.Run()
	r.wall, r.cpu, r.peak = time.Since(start), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), peer.PeakMemory(cmd)
	if text := strings.TrimSpace(said.String()); r.err != nil && text != "" {
		lines := strings.Split(text, "\n")
		r.err = fmt.Errorf("%s", lines[len(lines)-1])
	}
	t.Logf("%s, %s, %s: %.1f s, %.1f s of the processor, %d MB, %v", net.Name, q.name, photos.name, r.wall.Seconds(), r.cpu.Seconds(), r.peak/1e6, r.err)
	return r
}

// quantizeWithin takes whole photographs and, where a peer fails on them, the
// middle of each.
func quantizeWithin(t *testing.T, q quantizer, net testenv.Model, view *calib.Network, n int, notes *[]string) *run {
	t.Helper()
	for _, crop := range []int{0, 128, 96} {
		r := quantizeOnce(t, q, net, photos(t, view, n, crop, 1))
		if r.err == nil || strings.HasPrefix(q.name, "daq") || crop == 96 {
			return r
		}
		*notes = append(*notes, fmt.Sprintf("%s, %s fails on %s after %.1f s and %.0f MB: %.200v", net.Name, q.name, r.photographs, r.wall.Seconds(), float64(r.peak)/1e6, r.err))
	}
	panic("unreachable")
}

func (r *run) cost() string {
	s := fmt.Sprintf("%s\t%.1f\t%.1f\t%.0f", r.photographs, r.wall.Seconds(), r.cpu.Seconds(), float64(r.peak)/1e6)
	if r.err != nil {
		s += fmt.Sprintf("\tfails: %.200s", r.err)
	}
	return s
}

func (r *run) cells() string {
	cost := "\t\t\t"
	if r.quantizer != "float" {
		cost = r.cost()
	}
	if r.err != nil {
		return cost
	}
	return fmt.Sprintf("%s\t%.2f\t%s\t%s\t%.2f", cost, r.psnr, r.integer(), r.median(), r.speed)
}

func (r *run) median() string {
	if r.err != nil {
		return fmt.Sprintf("fails: %.100s", r.err)
	}
	return fmt.Sprintf("%.1f", bench.Median(r.ms))
}

func (r *run) integer() string {
	if r.err != nil {
		return ""
	}
	integer, all := r.operators.Convolutions()
	return fmt.Sprintf("%d/%d", integer, all)
}

func ratio(a, b []float64) string { return fmt.Sprintf("%.2f", bench.RatioOf(a, b).Median) }

// measure runs the graphs in ONNX Runtime in turns, on one thread.
func measure(t *testing.T, view *calib.Network, runs []*run) {
	t.Helper()
	server := start(t)
	low, err := imaging.ReadFile(filepath.Join(testenv.Shared(t), "data", "images", "Set5", "HR", "baby.png"))
	if err != nil {
		t.Fatal(err)
	}
	side := 128 / view.Enlarge
	if low, err = low.Crop(side, side); err != nil {
		t.Fatal(err)
	}
	input, err := view.Tensor(low)
	if err != nil {
		t.Fatal(err)
	}
	sessions := make([]*peer.Session, len(runs))
	for i, r := range runs {
		if r.err != nil {
			continue
		}
		if sessions[i], r.err = server.Open(r.path, input, peer.Options{}); r.err == nil {
			r.operators = sessions[i].Operators
		}
	}
	for begin, rounds := time.Now(), 0; rounds < 5 || rounds < 25 && time.Since(begin) < 20*time.Second; rounds++ {
		for i, s := range sessions {
			if s == nil {
				continue
			}
			_, cpu, err := s.Run()
			if err != nil {
				t.Fatal(err)
			}
			runs[i].ms = append(runs[i].ms, 1000*cpu.Seconds())
		}
	}
	for _, r := range runs {
		if r.err == nil {
			r.speed = bench.RatioOf(runs[0].ms, r.ms).Median
		}
	}
	if _, err := server.End(); err != nil {
		t.Fatal(err)
	}
}

// set5 returns the mean PSNR-Y of what ONNX Runtime makes of Set5.
func set5(t *testing.T, view *calib.Network, path string) float64 {
	t.Helper()
	server := start(t)
	pairs, err := calib.OpenPairs(filepath.Join(testenv.Shared(t), "data", "images", "Set5"), view.Scale)
	if err != nil {
		t.Fatal(err)
	}
	sum, n := 0.0, 0
	err = pairs.Each(context.Background(), func(p calib.Pair) error {
		input, err := view.Tensor(p.LR)
		if err != nil {
			return err
		}
		s, err := server.Open(path, input, peer.Options{Threads: 2})
		if err != nil {
			return err
		}
		db, err := psnrY(view, s.Output, p.HR)
		sum, n = sum+db, n+1
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.End(); err != nil {
		t.Fatal(err)
	}
	return sum / float64(n)
}

func start(t *testing.T) *peer.Process {
	t.Helper()
	p, err := peer.Start(peer.Runtime{Name: "ONNX Runtime", Engine: "ort", Python: testenv.Python(t)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// table is printed, and written to a file as it grows.
type table struct {
	*testing.T
	path  string
	rows  []string
	notes []string // below it
}

func newTable(t *testing.T, name, header string) *table {
	path := ""
	if *outFlag != "" {
		path = filepath.Join(*outFlag, "peers "+name)
	}
	return &table{T: t, path: path, rows: []string{header}}
}

func (b *table) row(format string, args ...any) {
	b.rows = append(b.rows, fmt.Sprintf(format, args...))
	if b.path != "" {
		if err := os.WriteFile(b.path, []byte(b.text()), 0o666); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *table) text() string {
	var s strings.Builder
	w := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	for _, r := range b.rows {
		fmt.Fprintln(w, r)
	}
	w.Flush()
	for _, n := range b.notes {
		fmt.Fprintln(&s, n)
	}
	return s.String()
}

func (b *table) print() { fmt.Printf("\n%s\n", b.text()) }
