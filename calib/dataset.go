package calib

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/daq-sr/daq/internal/imaging"
)

// Dataset is a folder of pictures, sorted by name, decoded one at a time.
type Dataset struct {
	// Downscale above 1 makes low-resolution pictures from the files: cut to a
	// multiple, then bicubic as benchmarks do it (imaging.Downscale8).
	Downscale int
	// Ignored counts the entries of the folder that are no pictures by name.
	Ignored int

	dir   string
	names []string

	// Of a sample: every name stands for one cell of the picture, which is divided in
	// grid x grid, and gives at most so many pixels.
	cells      []int
	grid, most int
}

// leastSample is the side of the smallest square that a sample takes of a picture: about
// what a super-resolution network looks at for one pixel.
const leastSample = 64

// Sample returns a dataset of at most so many pixels, whatever the number and size of
// the pictures: squares of equal area, evenly spread over each picture, or over some of
// the pictures where they would be smaller than 64x64 otherwise.
func (d *Dataset) Sample(pixels int) *Dataset {
	s := *d
	squares := max(pixels/(leastSample*leastSample), 1)
	count := min(len(d.names), squares)
	s.grid = int(math.Sqrt(float64(squares / count)))
	s.most = pixels / (count * s.grid * s.grid)
	s.names, s.cells = nil, nil
	for i := range count {
		for cell := range s.grid * s.grid {
			s.names, s.cells = append(s.names, d.names[i*len(d.names)/count]), append(s.cells, cell)
		}
	}
	return &s
}

// part returns what the dataset takes of the picture of name i: all, or of a sample the
// middle of its cell, of at most d.most pixels.
func (d *Dataset) part(m *imaging.Image, i int) *imaging.Image {
	if d.most == 0 {
		return m
	}
	cell := d.cells[i]
	x0, x1 := cell%d.grid*m.Width/d.grid, (cell%d.grid+1)*m.Width/d.grid
	y0, y1 := cell/d.grid*m.Height/d.grid, (cell/d.grid+1)*m.Height/d.grid
	w, h := x1-x0, y1-y0
	if w*h > d.most {
		side := int(math.Sqrt(float64(d.most)))
		w = min(w, max(side, d.most/h))
		h = min(h, d.most/w)
	}
	return m.Region((x0+x1-w)/2, (y0+y1-h)/2, w, h)
}

// OpenDataset lists a folder. A folder without pictures is an error.
func OpenDataset(dir string, downscale int) (*Dataset, error) {
	if downscale < 1 {
		return nil, fmt.Errorf("downscale factor %d: want 1 or more", downscale)
	}
	names, ignored, err := listImages(dir)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("folder %s has no pictures (PNG, JPEG, BMP, TIFF, WebP); %d other entries", dir, ignored)
	}
	return &Dataset{Downscale: downscale, Ignored: ignored, dir: dir, names: names}, nil
}

// Names returns the file names, sorted.
func (d *Dataset) Names() []string { return d.names }

// Image decodes picture i of Names, or what a sample takes of it.
func (d *Dataset) Image(i int) (*imaging.Image, error) {
	m, err := d.whole(i)
	if err != nil {
		return nil, err
	}
	return d.part(m, i), nil
}

// whole decodes the picture of name i.
func (d *Dataset) whole(i int) (*imaging.Image, error) {
	path := filepath.Join(d.dir, d.names[i])
	m, err := imaging.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if d.Downscale > 1 {
		if m, err = imaging.Downscale8(m, d.Downscale); err != nil {
			return nil, fmt.Errorf("picture %s: %w", path, err)
		}
	}
	return m, nil
}

// Each calls f for every picture in order until f fails or ctx is done.
func (d *Dataset) Each(ctx context.Context, f func(name string, m *imaging.Image) error) error {
	var whole *imaging.Image
	for i, name := range d.names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i == 0 || name != d.names[i-1] { // the cells of a picture follow each other
			var err error
			if whole, err = d.whole(i); err != nil {
				return err
			}
		}
		if err := f(name, d.part(whole, i)); err != nil {
			return fmt.Errorf("picture %s: %w", filepath.Join(d.dir, name), err)
		}
	}
	return nil
}

// Pair is a low-resolution picture and its original, Scale times as large.
type Pair struct {
	Name   string // of the original, without extension
	LR, HR *imaging.Image
}

// Pairs is a folder of originals with their low-resolution versions: HR/ and
// LRx<scale>/ with equal names (extensions may differ), or originals alone, in
// HR/ or in the folder itself, from which the low resolution is made.
type Pairs struct {
	scale  int
	names  []string
	hr, lr []string // paths; lr is nil when it is made
}

// OpenPairs lists a folder for a scale of 1 or more. Originals without a
// low-resolution version and the reverse are errors.
func OpenPairs(dir string, scale int) (*Pairs, error) {
	if scale < 1 {
		return nil, fmt.Errorf("scale %d: want 1 or more", scale)
	}
	hrDir, lrDir := filepath.Join(dir, "HR"), filepath.Join(dir, fmt.Sprintf("LRx%d", scale))
	if !isDir(hrDir) {
		if isDir(lrDir) {
			return nil, fmt.Errorf("folder %s exists, but the originals %s do not", lrDir, hrDir)
		}
		hrDir = dir
	}
	hr, ignored, err := listStems(hrDir)
	if err != nil {
		return nil, err
	}
	if len(hr) == 0 {
		return nil, fmt.Errorf("folder %s has no pictures (PNG, JPEG, BMP, TIFF, WebP); %d other entries", hrDir, ignored)
	}
	p := &Pairs{scale: scale}
	for stem := range hr {
		p.names = append(p.names, stem)
	}
	sort.Strings(p.names)
	var lr map[string]string
	if isDir(lrDir) {
		if lr, _, err = listStems(lrDir); err != nil {
			return nil, err
		}
	}
	for _, stem := range p.names {
		p.hr = append(p.hr, filepath.Join(hrDir, hr[stem]))
		if lr == nil {
			continue
		}
		file, ok := lr[stem]
		if !ok {
			return nil, fmt.Errorf("picture %s has no version of the same name in %s", filepath.Join(hrDir, hr[stem]), lrDir)
		}
		p.lr = append(p.lr, filepath.Join(lrDir, file))
		delete(lr, stem)
	}
	if len(lr) > 0 {
		left := make([]string, 0, len(lr))
		for _, file := range lr {
			left = append(left, file)
		}
		sort.Strings(left)
		return nil, fmt.Errorf("picture %s has no original of the same name in %s", filepath.Join(lrDir, left[0]), hrDir)
	}
	return p, nil
}

// Names returns the pictures' names without extension, sorted.
func (p *Pairs) Names() []string { return p.names }

// Pair decodes pair i of Names. HR is cut to exactly Scale times LR; it may be
// larger by less than Scale pixels in each direction.
func (p *Pairs) Pair(i int) (Pair, error) {
	hr, err := imaging.ReadFile(p.hr[i])
	if err != nil {
		return Pair{}, err
	}
	if p.lr == nil {
		lr, err := imaging.Downscale8(hr, p.scale)
		if err != nil {
			return Pair{}, fmt.Errorf("picture %s: %w", p.hr[i], err)
		}
		return p.pair(i, lr, hr)
	}
	lr, err := imaging.ReadFile(p.lr[i])
	if err != nil {
		return Pair{}, err
	}
	for _, d := range []int{hr.Width - lr.Width*p.scale, hr.Height - lr.Height*p.scale} {
		if d < 0 || d >= p.scale {
			return Pair{}, fmt.Errorf("picture %s has %dx%d pixels, %s has %dx%d: want %d times as many in each direction",
				p.hr[i], hr.Width, hr.Height, p.lr[i], lr.Width, lr.Height, p.scale)
		}
	}
	return p.pair(i, lr, hr)
}

func (p *Pairs) pair(i int, lr, hr *imaging.Image) (Pair, error) {
	hr, err := hr.Crop(lr.Width*p.scale, lr.Height*p.scale)
	return Pair{Name: p.names[i], LR: lr, HR: hr}, err
}

// Each calls f for every pair in order until f fails or ctx is done.
func (p *Pairs) Each(ctx context.Context, f func(Pair) error) error {
	for i := range p.names {
		if err := ctx.Err(); err != nil {
			return err
		}
		pair, err := p.Pair(i)
		if err != nil {
			return err
		}
		if err := f(pair); err != nil {
			return fmt.Errorf("picture %s: %w", p.hr[i], err)
		}
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func listImages(dir string) (names []string, ignored int, err error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, 0, fmt.Errorf("cannot list pictures: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !imaging.IsImageName(e.Name()) {
			ignored++
			continue
		}
		names = append(names, e.Name())
	}
	return names, ignored, nil
}

// listStems maps names without extension to file names.
func listStems(dir string) (map[string]string, int, error) {
	names, ignored, err := listImages(dir)
	if err != nil {
		return nil, 0, err
	}
	stems := make(map[string]string, len(names))
	for _, name := range names {
		stem := strings.TrimSuffix(name, filepath.Ext(name))
		if other, ok := stems[stem]; ok {
			return nil, 0, fmt.Errorf("folder %s has both %s and %s: names must differ without extension", dir, other, name)
		}
		stems[stem] = name
	}
	return stems, ignored, nil
}
