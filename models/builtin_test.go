package models

import (
	"image/png"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestBuiltinImages(t *testing.T) {
	files := BuiltinImages()
	names := map[string][]string{}
	for dir, size := range map[string]int{"calibration/LRx2": 128, "validation/HR": 256, "validation/LRx2": 128} {
		entries, err := fs.ReadDir(files, dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names[dir] = append(names[dir], e.Name())
			f, err := files.Open(dir + "/" + e.Name())
			if err != nil {
				t.Fatal(err)
			}
			img, err := png.Decode(f)
			f.Close()
			if err != nil {
				t.Fatalf("%s/%s: %v", dir, e.Name(), err)
			}
			if b := img.Bounds(); b.Dx() != size || b.Dy() != size {
				t.Errorf("%s/%s is %v, want %d x %d", dir, e.Name(), b, size, size)
			}
		}
		if len(entries) != 5 {
			t.Errorf("%s holds %d files", dir, len(entries))
		}
	}
	if !slices.Equal(names["validation/HR"], names["validation/LRx2"]) {
		t.Error("HR and LRx2 have other names")
	}
	readme, err := fs.ReadFile(BuiltinFiles(), "README.md")
	if err != nil {
		t.Fatal(err)
	}
	// Every photograph is attributed.
	for _, name := range append(names["validation/HR"], names["calibration/LRx2"]...) {
		title, _, _ := strings.Cut(name, "_by_")
		if !strings.Contains(string(readme), title) {
			t.Errorf("README.md does not name %s", title)
		}
	}
}
