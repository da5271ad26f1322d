package calib

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/testenv"
)

func put(t *testing.T, dir, name string, width, height int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := imaging.WriteFile(filepath.Join(dir, name), imaging.New(width, height, 3)); err != nil {
		t.Fatal(err)
	}
}

func TestDataset(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "b.png", 9, 7)
	put(t, dir, "a.PNG", 10, 8)
	put(t, dir, "sub/c.png", 4, 4)
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDataset(dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.Names(), []string{"a.PNG", "b.png"}) || d.Ignored != 2 {
		t.Error(d.Names(), d.Ignored)
	}
	var widths []int
	err = d.Each(context.Background(), func(_ string, m *imaging.Image) error {
		widths = append(widths, m.Width, m.Height)
		return nil
	})
	if err != nil || !slices.Equal(widths, []int{5, 4, 4, 3}) {
		t.Error(widths, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.Each(ctx, func(string, *imaging.Image) error { return nil }); err != context.Canceled {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bad.png"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	if d, err = OpenDataset(dir, 1); err != nil {
		t.Fatal(err)
	}
	err = d.Each(context.Background(), func(string, *imaging.Image) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "bad.png") {
		t.Error(err)
	}
}

func TestDatasetErrors(t *testing.T) {
	if _, err := OpenDataset(t.TempDir(), 1); err == nil || !strings.Contains(err.Error(), "no pictures") {
		t.Error(err)
	}
	if _, err := OpenDataset(filepath.Join(t.TempDir(), "none"), 1); err == nil {
		t.Error("no folder")
	}
	if _, err := OpenDataset(t.TempDir(), 0); err == nil {
		t.Error("downscale 0")
	}
}

func TestPairs(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string][2]int
		scale int
		want  string // part of the error, or names
	}{
		{"folders", map[string][2]int{"HR/a.png": {8, 6}, "LRx2/a.PNG": {4, 3}}, 2, "a"},
		{"hr only", map[string][2]int{"HR/b.png": {9, 7}, "HR/a.png": {8, 6}}, 2, "a b"},
		{"plain folder", map[string][2]int{"b.png": {9, 7}}, 3, "b"},
		{"hr larger", map[string][2]int{"HR/a.png": {11, 8}, "LRx4/a.png": {2, 2}}, 4, "a"},
		{"other scale", map[string][2]int{"HR/a.png": {8, 8}, "LRx4/a.png": {2, 2}}, 2, "a"},
		{"too large", map[string][2]int{"HR/a.png": {12, 8}, "LRx4/a.png": {2, 2}}, 4, "error: want 4 times"},
		{"too small", map[string][2]int{"HR/a.png": {7, 8}, "LRx4/a.png": {2, 2}}, 4, "error: want 4 times"},
		{"no lr", map[string][2]int{"HR/a.png": {8, 8}, "HR/b.png": {8, 8}, "LRx2/a.png": {4, 4}}, 2, "error: b.png has no version"},
		{"no hr", map[string][2]int{"HR/a.png": {8, 8}, "LRx2/z.png": {4, 4}, "LRx2/a.png": {4, 4}}, 2, "error: z.png has no original"},
		{"lr only", map[string][2]int{"LRx2/a.png": {4, 4}}, 2, "error: originals"},
		{"two of a name", map[string][2]int{"HR/a.png": {8, 8}, "HR/a.jpg": {8, 8}}, 2, "error: both a.jpg and a.png"},
		{"tiny", map[string][2]int{"a.png": {3, 8}}, 4, "error: too few"},
		{"empty", nil, 2, "error: no pictures"},
		{"scale", nil, 0, "error: scale 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, size := range c.files {
				put(t, dir, name, size[0], size[1])
			}
			p, err := OpenPairs(dir, c.scale)
			var got []string
			if err == nil {
				err = p.Each(context.Background(), func(p Pair) error {
					got = append(got, p.Name)
					if p.HR.Width != p.LR.Width*c.scale || p.HR.Height != p.LR.Height*c.scale {
						t.Errorf("%s: %dx%d of %dx%d", p.Name, p.HR.Width, p.HR.Height, p.LR.Width, p.LR.Height)
					}
					return nil
				})
			}
			if want, ok := strings.CutPrefix(c.want, "error: "); ok {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			} else if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("%v, %v, want %s", got, err, c.want)
			}
		})
	}
}

// LR made from HR equals the LR files.
func TestPairsOfSet5(t *testing.T) {
	dir := filepath.Join(testenv.Shared(t), "data", "images", "Set5")
	for _, scale := range []int{2, 3, 4} {
		files, err := OpenPairs(dir, scale)
		if err != nil {
			t.Fatal(err)
		}
		made, err := OpenPairs(filepath.Join(dir, "HR"), scale)
		if err != nil {
			t.Fatal(err)
		}
		if len(files.Names()) != 5 || !slices.Equal(files.Names(), made.Names()) {
			t.Fatal(files.Names(), made.Names())
		}
		for i := range files.Names() {
			a, err := files.Pair(i)
			if err != nil {
				t.Fatal(err)
			}
			b, err := made.Pair(i)
			if err != nil {
				t.Fatal(err)
			}
			if Digest(a.LR) != Digest(b.LR) || Digest(a.HR) != Digest(b.HR) {
				t.Errorf("x%d %s differs", scale, a.Name)
			}
		}
	}
}

// A sample has no more pixels than asked for, whatever there is.
func TestSample(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string][2]int{"a.png": {400, 300}, "b.png": {150, 600}, "c.png": {50, 40}, "d.png": {700, 20}} {
		put(t, dir, name, size[0], size[1])
	}
	d, err := OpenDataset(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pixels int
		want   []int // widths and heights
	}{
		{40000, []int{100, 100, 100, 100, 50, 40, 500, 20}},
		{80000, []int{ // squares of 70x70, four of each
			70, 71, 70, 71, 70, 71, 70, 71, 70, 71, 70, 71, 70, 71, 70, 71, 25, 20, 25, 20, 25, 20, 25, 20, 350, 10, 350, 10, 350, 10, 350, 10}},
		{10000, []int{70, 71, 50, 40}}, // every other picture
		{100, []int{10, 10}},
	} {
		s := d.Sample(c.pixels)
		var sizes []int
		sum := 0
		err := s.Each(context.Background(), func(_ string, m *imaging.Image) error {
			sizes = append(sizes, m.Width, m.Height)
			sum += m.Width * m.Height
			return nil
		})
		if err != nil || !slices.Equal(sizes, c.want) || len(s.Names()) != len(sizes)/2 || sum > c.pixels {
			t.Errorf("%d pixels: %v (%v), want %v", c.pixels, sizes, err, c.want)
		}
	}
	if len(d.Names()) != 4 {
		t.Error("the sample changed what it was taken from")
	}
}
