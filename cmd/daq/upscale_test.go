package main

import (
	"bytes"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/imaging"
)

func TestUpscale(t *testing.T) {
	f := newFiles(t)
	float := f.path("float.onnx")
	check(t, os.Mkdir(f.path("in"), 0o777))
	put := func(name string, m image.Image) {
		var b bytes.Buffer
		check(t, png.Encode(&b, m))
		check(t, os.WriteFile(filepath.Join(f.path("in"), name), b.Bytes(), 0o666))
	}
	put("colour.png", image.NewRGBA(image.Rect(0, 0, 7, 5)))
	put("gray.png", image.NewGray(image.Rect(0, 0, 9, 1)))
	put("deep.png", image.NewNRGBA64(image.Rect(0, 0, 4, 4)))
	check(t, os.WriteFile(filepath.Join(f.path("in"), "notes.txt"), []byte("no picture"), 0o666))

	r := daq("upscale", float, f.path("in"), "-o", f.path("out"))
	if r.code != exitDone || r.stdout != "" || !strings.HasPrefix(r.stderr, "note: 1 entries") || strings.Count(r.stderr, "\n") != 1 {
		t.Fatalf("%+v", r)
	}
	if got := f.list(t, "out"); !slices.Equal(got, []string{"colour.png", "deep.png", "gray.png"}) {
		t.Errorf("wrote %q", got)
	}
	for name, want := range map[string]struct{ w, h, channels, depth int }{
		"colour.png": {14, 10, 3, 8}, "gray.png": {18, 2, 1, 8}, "deep.png": {8, 8, 3, 16},
	} {
		m, err := imaging.ReadFile(filepath.Join(f.path("out"), name))
		check(t, err)
		if m.Width != want.w || m.Height != want.h || m.Channels != want.channels || m.Depth != want.depth {
			t.Errorf("%s is %dx%d, %d channels of %d bits", name, m.Width, m.Height, m.Channels, m.Depth)
		}
	}

	// Stopped and resumed: only what is missing is made, nothing else touched.
	gone, kept := filepath.Join(f.path("out"), "gray.png"), filepath.Join(f.path("out"), "deep.png")
	check(t, os.Remove(gone))
	check(t, os.WriteFile(kept, []byte("kept"), 0o666))
	fails(t, daq("upscale", float, f.path("in"), "-o", f.path("out"), "--quiet"), exitFailed, "--resume")
	must(t, "upscale", float, f.path("in"), "-o", f.path("out"), "--resume", "--quiet")
	if data, _ := os.ReadFile(kept); !exists(gone) || string(data) != "kept" {
		t.Error("--resume did not do what is missing only")
	}
	fails(t, daq("upscale", float, filepath.Join(f.path("in"), "colour.png"), "-o", f.path("small.png"), "--max-memory", "4MB", "--quiet"), exitFailed, "colour.png", "give")
	if exists(f.path("small.png")) {
		t.Error("too little memory left a file")
	}
	must(t, "upscale", float, f.path("in"), "-o", f.path("out"), "--overwrite", "--quiet")
	if data, _ := os.ReadFile(kept); string(data) == "kept" {
		t.Error("--overwrite kept a file")
	}

	// One broken picture does not stop the others.
	check(t, os.WriteFile(filepath.Join(f.path("in"), "broken.png"), []byte("\x89PNG\r\n\x1a\nrest"), 0o666))
	fails(t, daq("upscale", float, f.path("in"), "-o", f.path("second"), "--quiet"), exitFailed, "1 of 4 pictures", "broken.png")
	if got := f.list(t, "second"); len(got) != 3 {
		t.Errorf("wrote %q", got)
	}

	// One picture: to a file, or into a folder.
	one := filepath.Join(f.path("in"), "colour.png")
	must(t, "upscale", float, one, "-o", f.path("one.png"))
	must(t, "upscale", float, one, "-o", string(f))
	same(t, f.path("one.png"), f.path("colour.png"))
	put("colour.bmp.png", image.NewRGBA(image.Rect(0, 0, 2, 2)))
	check(t, os.Rename(filepath.Join(f.path("in"), "colour.bmp.png"), filepath.Join(f.path("in"), "colour.jpg")))
	fails(t, daq("upscale", float, f.path("in"), "-o", f.path("third"), "--quiet"), exitFailed, "would both become")
}
