//go:build bench && unix

package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/daq-sr/daq/internal/bench"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/npy"
	"github.com/daq-sr/daq/internal/peer"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// Rounds of a comparison: at least three, so that a median means something.
const leastRounds, mostRounds = 3, 25

// pause lets the worker threads of ONNX Runtime, which wait spinning, go to sleep
// before somebody else is measured.
const pause = 30 * time.Millisecond

// TestBench runs our runtime and ONNX Runtime in turns on real networks, one
// picture and the same number of threads, and prints ratios of median times. It
// measures and judges nothing.
func TestBench(t *testing.T) {
	testenv.Shared(t)
	server := startORT(t)
	t.Cleanup(func() {
		if _, err := server.End(); err != nil {
			t.Error(err)
		}
	})
	only, err := regexp.Compile(*networksFlag)
	if err != nil {
		t.Fatal(err)
	}
	b := &benchmark{T: t, server: server, dir: t.TempDir()}
	for _, size := range strings.Split(*sizesFlag, ",") {
		var h, w int
		if _, err := fmt.Sscanf(size, "%dx%d", &h, &w); err != nil {
			t.Fatalf("-sizes %q: want HxW,HxW: %v", *sizesFlag, err)
		}
		for _, name := range []string{"EDSR_x2", "SRResNet_x4", "RDN_x2", "CARN_x2", "WDSRb8_x2", "RLFN_x2", "IMDN_x4"} {
			if only.MatchString(name + "/float") {
				b.float(testenv.ModelNamed(t, name), h, w)
			}
		}
		for _, name := range []string{"EDSR_x2", "RDN_x2"} {
			for _, bits := range []int{4, 2} {
				if only.MatchString(fmt.Sprintf("%s/%d", name, bits)) {
					b.quantized(testenv.ModelNamed(t, name), bits, h, w)
				}
			}
		}
		for _, form := range []string{"static-8", "static-4", "int8"} {
			if only.MatchString("EDSR_x2/" + form) {
				b.static(testenv.ModelNamed(t, "EDSR_x2"), form, h, w)
			}
		}
	}
	if len(b.rows) == 0 && *memoryFlag == "" {
		t.Fatalf("-networks %q matches nothing", *networksFlag)
	}
	if len(b.rows) > 0 {
		b.print()
	}
	if *memoryFlag != "" {
		b.memory(testenv.ModelNamed(t, "EDSR_x2"), *memoryFlag)
	}
	if *samplesFlag != "" && len(b.rows) > 0 {
		if err := os.WriteFile(*samplesFlag, []byte(b.samples.String()), 0o666); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\nevery time is in %s: benchstat -col /runtime %[1]s\n", *samplesFlag)
	}
}

// benchmark is one run of all comparisons.
type benchmark struct {
	*testing.T
	server  *peer.Process
	dir     string // of files made on the way
	rows    []row
	samples strings.Builder
}

// contender is somebody who runs a network, again and again.
type contender struct {
	name      string
	run       func() (sample, error)
	output    *runtime.Tensor
	wall, cpu []float64 // ms of each run
}

type sample struct{ wall, cpu time.Duration }

// row is one line of the table: ours against one other.
type row struct {
	network, bits, size string
	threads             int
	other               string
	ours, theirs        float64     // median ms
	times               bench.Ratio // of theirs over ours: how many times faster we are
	cpu                 float64     // the same of processor time, medians
	wanted              float64
	agreement           string
}

func (b *benchmark) float(net testenv.Model, h, w int) {
	photo := picture(b.T, "baby", net, h, w)
	wanted := 1.5
	if net.Name == "EDSR_x2" || net.Name == "RDN_x2" {
		wanted = 2.5
	}
	for _, threads := range threadCounts() {
		ours := b.ours("daq", load(b.T, net), photo, threads)
		ort, stop := b.ort("ort", net.Path, photo, threads)
		b.turns(ours, ort)
		stop()
		agreement := fmt.Sprintf("error %.0e", relativeError(ours.output.Data.([]float32), ort.output.Data.([]float32)))
		b.record(net.Name, "float", h, w, threads, []*contender{ours, ort}, []float64{0, wanted}, []string{"", agreement})
	}
}

func (b *benchmark) quantized(net testenv.Model, bits, h, w int) {
	photo := picture(b.T, "baby", net, h, w)
	model := quantize(b.T, net, settings(bits, passes.Paper))
	path := filepath.Join(b.dir, fmt.Sprintf("%s_%d.onnx", net.Name, bits))
	if err := model.Save(path); err != nil {
		b.Fatal(err)
	}
	int8Path := b.int8(net)
	for _, threads := range threadCounts() {
		ours := b.ours("daq", model, photo, threads)
		float := b.ours("daq-float", load(b.T, net), photo, threads)
		same, stopSame := b.ort("ort", path, photo, threads)
		static, stopStatic := b.ort("ort-int8", int8Path, photo, threads)
		b.turns(ours, same, static, float)
		stopSame()
		stopStatic()
		noise := func(c *contender) string {
			return fmt.Sprintf("noise %.1f, %.1f dB", psnr(ours.output, float.output), psnr(c.output, float.output))
		}
		b.record(net.Name, fmt.Sprintf("%d/%[1]d", bits), h, w, threads, []*contender{ours, same, static, float},
			[]float64{0, 8, 1.5, 1.3}, []string{"", noise(same), noise(static), ""})
	}
}

// static runs static Q/DQ networks: ours of 8 or 4 bits, or what ONNX Runtime's own
// quantizer makes.
func (b *benchmark) static(net testenv.Model, form string, h, w int) {
	photo := picture(b.T, "baby", net, h, w)
	path := filepath.Join(b.dir, net.Name+"_"+form+".onnx")
	if bits, ok := strings.CutPrefix(form, "static-"); ok {
		n, err := strconv.Atoi(bits)
		if err != nil {
			b.Fatal(err)
		}
		if err := staticNetwork(b.T, net, n).Save(path); err != nil {
			b.Fatal(err)
		}
	} else {
		path = b.int8(net)
	}
	model, err := onnx.Load(path)
	if err != nil {
		b.Fatal(err)
	}
	for _, threads := range threadCounts() {
		ours := b.ours("daq", model, photo, threads)
		float := b.ours("daq-float", load(b.T, net), photo, threads)
		same, stop := b.ort("ort", path, photo, threads)
		b.turns(ours, same, float)
		stop()
		noise := fmt.Sprintf("noise %.1f, %.1f dB", psnr(ours.output, float.output), psnr(same.output, float.output))
		b.record(net.Name, form, h, w, threads, []*contender{ours, same, float}, []float64{0, 1.5, 1.3}, []string{"", noise, ""})
	}
}

func threadCounts() []int {
	if goruntime.NumCPU() < 2 {
		return []int{1}
	}
	return []int{1, 2}
}

// ours is this project's runtime, warmed up.
func (b *benchmark) ours(name string, m *onnx.Model, photo *runtime.Tensor, threads int) *contender {
	b.Helper()
	program, err := runtime.Compile(m, runtime.Options{Threads: threads})
	if err != nil {
		b.Fatal(err)
	}
	inputs := map[string]*runtime.Tensor{"input": photo}
	output, err := program.Run(context.Background(), inputs, nil)
	if err != nil {
		b.Fatal(err)
	}
	return &contender{name: name, output: output["output"], run: func() (sample, error) {
		start, used := time.Now(), processorTime()
		_, err := program.Run(context.Background(), inputs, nil)
		return sample{time.Since(start), processorTime() - used}, err
	}}
}

// ort is a session of ONNX Runtime, warmed up, and what ends it.
func (b *benchmark) ort(name, model string, photo *runtime.Tensor, threads int) (*contender, func()) {
	b.Helper()
	session, err := b.server.Open(model, photo, peer.Options{Threads: threads})
	if err != nil {
		b.Fatal(err)
	}
	c := &contender{name: name, output: session.Output, run: func() (sample, error) {
		wall, cpu, err := session.Run()
		return sample{wall, cpu}, err
	}}
	return c, func() {
		if err := session.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// int8 quantizes a network with ONNX Runtime's own static quantizer.
func (b *benchmark) int8(net testenv.Model) string {
	b.Helper()
	path := filepath.Join(b.dir, net.Name+"_int8.onnx")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	args := []string{filepath.Join(testenv.Root(), "interop", "ort_int8.py"), "--reduce-range", net.Path, path}
	for _, name := range []string{"bird", "butterfly", "head", "woman"} {
		photo := picture(b.T, name, net, 128, 128)
		file := filepath.Join(b.dir, name+".npy")
		if err := npy.Write(file, photo.Shape, photo.Data.([]float32)); err != nil {
			b.Fatal(err)
		}
		args = append(args, file)
	}
	out, err := exec.Command(testenv.Python(b.T), args...).Output()
	if err != nil {
		b.Fatalf("ort_int8.py: %v", err)
	}
	var convolutions struct{ Integer, Float int }
	if err := json.Unmarshal(out, &convolutions); err != nil || convolutions.Float > 0 || convolutions.Integer == 0 {
		b.Fatalf("ONNX Runtime's quantizer gives %s, want every convolution in integers (%v)", out, err)
	}
	return path
}

// turns runs the contenders one after the other, round after round.
func (b *benchmark) turns(list ...*contender) {
	b.Helper()
	deadline := time.Now().Add(time.Duration(*secondsFlag * float64(time.Second)))
	for round := 0; round < leastRounds || round < mostRounds && time.Now().Before(deadline); round++ {
		for _, c := range list {
			time.Sleep(pause)
			s, err := c.run()
			if err != nil {
				b.Fatalf("%s: %v", c.name, err)
			}
			c.wall, c.cpu = append(c.wall, ms(s.wall)), append(c.cpu, ms(s.cpu))
		}
	}
}

// record keeps the results of the first contender against each of the others.
func (b *benchmark) record(network, bits string, h, w, threads int, list []*contender, wanted []float64, agreement []string) {
	size := fmt.Sprintf("%dx%d", h, w)
	for _, c := range list {
		for i := range c.wall {
			fmt.Fprintf(&b.samples, "BenchmarkRun/net=%s/bits=%s/size=%s/threads=%d/runtime=%s 1 %.0f ns/op %.0f cpu-ns/op\n",
				network, strings.ReplaceAll(bits, "/", "-"), size, threads, c.name, 1e6*c.wall[i], 1e6*c.cpu[i])
		}
	}
	ours := list[0]
	for i, c := range list[1:] {
		r := row{
			network: network, bits: bits, size: size, threads: threads, other: c.name,
			ours: bench.Median(ours.wall), theirs: bench.Median(c.wall), times: bench.RatioOf(c.wall, ours.wall),
			cpu: bench.Median(c.cpu) / bench.Median(ours.cpu), wanted: wanted[i+1], agreement: agreement[i+1],
		}
		b.rows = append(b.rows, r)
		b.Logf("%s %s %s, %d threads: %.2f times as fast as %s in %d rounds", network, bits, size, threads, r.times.Median, c.name, len(c.wall))
	}
}

// print writes the table.
func (b *benchmark) print() {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "network\tbits\tsize\tthreads\tagainst\tdaq ms\tits ms\tratio\tquartiles\tCPU ratio\twanted\t\t")
	for _, r := range b.rows {
		verdict := "ok"
		if r.times.Median < r.wanted {
			verdict = "BELOW"
		}
		cpu := "" // of several threads it counts waiting, which spins in ONNX Runtime
		if r.threads == 1 {
			cpu = fmt.Sprintf("%.2f", r.cpu)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%.1f\t%.1f\t%.2f\t%.2f to %.2f\t%s\t%.1f %s\t%s\t\n", r.network, r.bits, r.size, r.threads, r.other,
			r.ours, r.theirs, r.times.Median, r.times.Low, r.times.High, cpu, r.wanted, verdict, r.agreement)
	}
	w.Flush()
	fmt.Println("\nratio: its median time over ours, of runs in turns; quartiles: of the ratios of neighbouring runs.",
		"\nort: ONNX Runtime on the same file; ort-int8: on what its own static quantizer makes; daq-float: ours on the float network.",
		"\nnoise: PSNR against the float network of ours and of the other; error: largest difference over the range of the output.")
}

// memory compares the most memory that processes have which run a network once
// (ours three times: daq bench), on two threads.
func (b *benchmark) memory(net testenv.Model, size string) {
	var h, w int
	if _, err := fmt.Sscanf(size, "%dx%d", &h, &w); err != nil {
		b.Fatalf("-memory %q: want HxW: %v", size, err)
	}
	quantized := filepath.Join(b.dir, "memory.onnx")
	if err := quantize(b.T, net, settings(4, passes.Paper)).Save(quantized); err != nil {
		b.Fatal(err)
	}
	program := filepath.Join(b.dir, "daq")
	build := exec.Command("go", "build", "-o", program, "./cmd/daq")
	build.Dir = testenv.Root()
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	large, err := runtime.Of([]int{1, 3, h, w}, make([]float32, 3*h*w))
	if err != nil {
		b.Fatal(err)
	}
	fmt.Println()
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "network\tbits\tsize\tdaq MB\tort MB\tratio")
	for _, form := range []struct{ bits, path string }{{"float", net.Path}, {"4/4", quantized}} {
		ours := exec.Command(program, "bench", form.path, "--size", size, "--threads", "2", "--runs", "1", "--json")
		ours.Stderr = os.Stderr
		if err := ours.Run(); err != nil {
			b.Fatalf("daq bench: %v", err)
		}
		server := startORT(b.T)
		_, failed := server.Open(form.path, large, peer.Options{Threads: 2})
		theirs, err := server.End()
		if err = errors.Join(failed, err); err != nil {
			b.Fatal(err)
		}
		mine := peer.PeakMemory(ours)
		fmt.Fprintf(table, "%s\t%s\t%s\t%.0f\t%.0f\t%.2f\n", net.Name, form.bits, size, float64(mine)/1e6, float64(theirs)/1e6, float64(theirs)/float64(mine))
	}
	table.Flush()
	fmt.Println("\nmemory: the most that the process had resident; Python and numpy are some 60 MB of ort's.")
}

func startORT(t *testing.T) *peer.Process {
	t.Helper()
	p, err := peer.Start(peer.Runtime{Name: "ONNX Runtime", Engine: "ort", Python: testenv.Python(t)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// picture returns a part of a photograph of Set5 as the network wants it.
func picture(t *testing.T, name string, net testenv.Model, h, w int) *runtime.Tensor {
	t.Helper()
	m, err := imaging.ReadFile(filepath.Join(testenv.Shared(t), "data", "images", "Set5", "HR", name+".png"))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.Crop(w, h); err != nil {
		t.Fatalf("%s.png: %v", name, err)
	}
	data := m.Pix
	for i := range data {
		data[i] *= net.Range
	}
	x, err := runtime.Of([]int{1, 3, h, w}, data)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// processorTime is what all threads of this process have used.
func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return time.Duration(math.MinInt64)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
