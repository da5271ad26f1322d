package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/report"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

type upscaleFlags struct {
	out, memory       string
	input             inputFlags
	overwrite, resume bool
	exact             bool
}

func newUpscale(t *terminal) *cobra.Command {
	f := &upscaleFlags{}
	cmd := &cobra.Command{
		Use:   "upscale MODEL.onnx IMAGE|DIR -o OUT",
		Short: "Enlarge a picture or a folder of pictures",
		Long: `Enlarges pictures (PNG, JPEG, BMP, TIFF, WebP; gray, colour, with alpha, 8 or 16
bits, any size) with a float or a quantized network and writes PNG files. For one
picture OUT is a .png file or a folder; for a folder OUT is a folder, which is
made if need be, and names are kept. A picture that cannot be read is passed
over, and the exit code is 1 in the end. Each file is complete or absent, so an
interrupted run can be continued with --resume.

A picture too large for memory goes through the network in tiles; the result is
that of one piece. --max-memory says how much memory the program may take; a tile
must fit.`,
		Example: `  daq upscale edsr_4bit.onnx photo.jpg -o photo_x2.png
  daq upscale edsr_4bit.onnx photos -o enlarged
  daq upscale edsr_4bit.onnx photos -o enlarged --resume
  daq upscale edsr_4bit.onnx poster.png -o large.png --max-memory 2GiB`,
		Args:                  arguments("MODEL.onnx", "IMAGE"),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), t, args[0], args[1])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&f.out, "output", "o", "", "`file` or folder to write")
	f.input.add(flags)
	addExact(flags, &f.exact)
	flags.StringVar(&f.memory, "max-memory", "", "`size` of memory to stay within, such as 2GiB or 500MB (default 1GiB, but three quarters of what is free for networks with statistics of the whole picture)")
	flags.BoolVar(&f.resume, "resume", false, "leave out pictures that OUT has already")
	flags.BoolVar(&f.overwrite, "overwrite", false, "replace pictures that exist")
	return cmd
}

// job is one picture to enlarge.
type job struct{ in, out string }

func (f *upscaleFlags) run(ctx context.Context, t *terminal, model, from string) error {
	if f.out == "" {
		return usagef("-o OUT is missing")
	}
	if f.resume && f.overwrite {
		return usagef("--resume keeps pictures that exist, --overwrite replaces them: choose one")
	}
	in, err := f.input.input()
	if err != nil {
		return err
	}
	memory, err := parseMemory(f.memory)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	var jobs []job
	if info.IsDir() {
		jobs, err = f.folder(t, from)
	} else {
		jobs, err = f.single(from)
	}
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		t.note("nothing left to do in %s", f.out)
		return nil
	}
	m, err := onnx.Load(model)
	if err != nil {
		return err
	}
	if memory > 0 { // the collector works harder as the limit comes near
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(memory / 10 * 9))
	}
	network, err := converter.Open(ctx, m, in, runtime.Options{Threads: t.threads, Exact: f.exact})
	if err != nil {
		return fmt.Errorf("%s: %w", model, err)
	}
	return upscale(ctx, t, network, jobs, memory)
}

// upscale does the jobs in order. Pictures that fail are told at the end, so that
// one broken file does not stop a long run.
func upscale(ctx context.Context, t *terminal, network *calib.Network, jobs []job, memory int64) error {
	progress, done := t.progress(false)
	defer done()
	var failed []error
	for i, j := range jobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		tiles := func(k, n int) {
			switch {
			case progress == nil:
			case len(jobs) == 1:
				progress("upscale", k, n)
			default:
				progress("upscale", i, len(jobs))
			}
		}
		tiles(0, 1)
		about, err := enlarge(ctx, network, j, memory, tiles)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && about:
			failed = append(failed, err)
		case err != nil:
			return err
		}
	}
	if progress != nil {
		progress("upscale", len(jobs), len(jobs))
	}
	done()
	switch {
	case len(failed) == 0:
		return nil
	case len(jobs) == 1:
		return failed[0]
	}
	for _, err := range failed {
		t.note("passed over: %v", err)
	}
	return fmt.Errorf("%d of %d pictures could not be enlarged, the first: %w", len(failed), len(jobs), failed[0])
}

// enlarge makes one picture. about says that an error is about this picture, not
// about writing.
func enlarge(ctx context.Context, network *calib.Network, j job, memory int64, progress func(done, total int)) (about bool, err error) {
	m, err := imaging.Open(j.in)
	if err != nil {
		return true, err
	}
	if memory > 0 {
		network.MaxBytes = memory/5*4 - heldBytes() // the collector lags behind
		if network.MaxBytes < least {
			return true, fmt.Errorf("%s: --max-memory leaves no room beside network and picture, which take %s: give %s or more", j.in, report.Bytes(heldBytes()), report.Bytes((heldBytes()+least)/4*5))
		}
	}
	f := imaging.Format{Width: m.Width * network.Scale, Height: m.Height * network.Scale, Channels: m.Channels, Depth: m.Depth, Alpha: m.Alpha}
	var failed error
	err = imaging.WriteBands(j.out, f, func(yield func(*imaging.Image, error) bool) {
		for band, err := range network.Bands(ctx, m, m.Width, m.Height, progress) {
			failed = err
			if !yield(band, err) {
				return
			}
		}
	})
	if failed != nil {
		return true, fmt.Errorf("%s: %w", j.in, failed)
	}
	return false, err
}

// least is what tensors need to get anywhere.
const least = 16 << 20

// heldBytes returns how much memory the process has taken so far.
func heldBytes() int64 {
	debug.FreeOSMemory()
	var s goruntime.MemStats
	goruntime.ReadMemStats(&s)
	return int64(s.Sys - s.HeapReleased)
}

// parseMemory reads a size with a unit, 0 for none.
func parseMemory(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	units := []struct {
		name  string
		bytes float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"GB", 1e9}, {"MB", 1e6}}
	for _, u := range units {
		if number, ok := strings.CutSuffix(strings.ToLower(text), strings.ToLower(u.name)); ok {
			if n, err := strconv.ParseFloat(strings.TrimSpace(number), 64); err == nil && n > 0 && n*u.bytes < 1<<50 {
				return int64(n * u.bytes), nil
			}
		}
	}
	return 0, usagef("--max-memory %q: want a number with GiB, MiB, GB or MB, such as 2GiB", text)
}

// single names the output of one picture.
func (f *upscaleFlags) single(from string) ([]job, error) {
	out := f.out
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		out = filepath.Join(out, pngName(from))
	} else if !strings.EqualFold(filepath.Ext(out), ".png") {
		return nil, usagef("-o %s: pictures are written as PNG, give a name that ends in .png or a folder that exists", out)
	}
	if f.resume && exists(out) {
		return nil, nil
	}
	return []job{{from, out}}, checkOutput(out, f.overwrite, from)
}

// folder names the outputs of a folder's pictures and makes their folder.
func (f *upscaleFlags) folder(t *terminal, from string) ([]job, error) {
	images, err := calib.OpenDataset(from, 1)
	if err != nil {
		return nil, err
	}
	if images.Ignored > 0 {
		t.note("%d entries of %s are no pictures and are passed over", images.Ignored, from)
	}
	var jobs []job
	source := map[string]string{}
	for _, name := range images.Names() {
		j := job{filepath.Join(from, name), filepath.Join(f.out, pngName(name))}
		if other := source[j.out]; other != "" {
			return nil, fmt.Errorf("%s and %s would both become %s: rename one", other, j.in, j.out)
		}
		source[j.out] = j.in
		jobs = append(jobs, j)
	}
	if err := os.Mkdir(f.out, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot make folder %s: %w", f.out, err)
	}
	if err := checkFolder(f.out); err != nil {
		return nil, err
	}
	if sameFile(from, f.out) {
		return nil, fmt.Errorf("%s is the folder of the pictures: choose another for the enlarged ones", f.out)
	}
	left := jobs[:0]
	for _, j := range jobs {
		switch {
		case !exists(j.out) || f.overwrite:
			left = append(left, j)
		case !f.resume:
			return nil, fmt.Errorf("%s exists: give --resume to do the rest, --overwrite to replace it, or another folder", j.out)
		}
	}
	return left, nil
}

// pngName is the name of a picture's enlarged version.
func pngName(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base)) + ".png"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
