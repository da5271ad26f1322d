package imaging

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/atomicfile"
)

// pixels.json was written by pillow (testdata/make.py).
func TestDecodeFormats(t *testing.T) {
	data, err := os.ReadFile("testdata/pixels.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]struct {
		Width, Height, Depth int
		Pix, Alpha           []float32
	}
	if err := json.Unmarshal(data, &want); err != nil || len(want) < 11 {
		t.Fatal(len(want), err)
	}
	for name, w := range want {
		t.Run(name, func(t *testing.T) {
			m := read(t, "testdata/"+name)
			if m.Width != w.Width || m.Height != w.Height || m.Depth != w.Depth || (m.Alpha == nil) != (w.Alpha == nil) {
				t.Fatalf("%dx%d, %d bits, alpha %v", m.Width, m.Height, m.Depth, m.Alpha != nil)
			}
			for i, a := range w.Alpha {
				if m.Alpha[i] != a/255 {
					t.Fatalf("alpha %d is %v, want %v", i, m.Alpha[i]*255, a)
				}
			}
			levels := float32(255)
			if w.Depth == 16 {
				levels = 65535
			}
			for i, v := range w.Pix {
				if m.Pix[i] != v/levels {
					t.Fatalf("sample %d is %v, want %v", i, m.Pix[i]*levels, v)
				}
			}
			// Written and read again it is the same.
			path := filepath.Join(t.TempDir(), "x.png")
			if err := WriteFile(path, m); err != nil {
				t.Fatal(err)
			}
			back := read(t, path)
			if !slices.Equal(back.Pix, m.Pix) || !slices.Equal(back.Alpha, m.Alpha) || back.Depth != m.Depth {
				if m.Channels == 3 || m.Alpha == nil { // gray with alpha is written as RGBA
					t.Error("other samples after writing")
				}
			}
		})
	}
}

func TestDecodeJPEG(t *testing.T) {
	red, green, blue, white := [3]int{250, 20, 20}, [3]int{20, 250, 20}, [3]int{20, 20, 250}, [3]int{240, 240, 240}
	// The quarters as shown: top left, top right, bottom left, bottom right.
	for name, want := range map[string][4][3]int{
		"exif1": {red, green, blue, white}, "exif2": {green, red, white, blue},
		"exif3": {white, blue, green, red}, "exif4": {blue, white, red, green},
		"exif5": {red, blue, green, white}, "exif6": {blue, red, white, green},
		"exif7": {white, green, blue, red}, "exif8": {green, white, red, blue},
		"cmyk": {red, green, blue, white},
	} {
		m := read(t, "testdata/"+name+".jpg")
		if upright := m.Width > m.Height; upright != (name < "exif5") {
			t.Errorf("%s: %dx%d", name, m.Width, m.Height)
		}
		for q, rgb := range want {
			x, y := m.Width/4+q%2*m.Width/2, m.Height/4+q/2*m.Height/2
			for c, v := range rgb {
				if got := m.Plane(c)[y*m.Width+x] * 255; math.Abs(float64(got)-float64(v)) > 3 {
					t.Errorf("%s quarter %d channel %d: %v, want %d", name, q, c, got, v)
				}
			}
		}
	}
}

func TestUnpremultiplied(t *testing.T) {
	src := image.NewRGBA(image.Rect(0, 0, 2, 1))
	src.Set(0, 0, color.RGBA{R: 50, G: 100, B: 0, A: 100})
	m := newPicture(src, false, 1).Image()
	if !slices.Equal(m.Pix, []float32{0.5, 0, 1, 0, 0, 0}) || m.Alpha[0] != 100./255 || m.Alpha[1] != 0 {
		t.Error(m.Pix, m.Alpha)
	}
}

func TestDecodeErrors(t *testing.T) {
	good, err := os.ReadFile("testdata/rgb.png")
	if err != nil {
		t.Fatal(err)
	}
	huge := slices.Clone(good)
	binary.BigEndian.PutUint32(huge[16:], 1<<20)
	binary.BigEndian.PutUint32(huge[20:], 1<<20)
	binary.BigEndian.PutUint32(huge[29:], crc32.ChecksumIEEE(huge[12:29]))
	for _, c := range []struct {
		data []byte
		want string
	}{
		{nil, "not a PNG"}, {[]byte("hello, world"), "not a PNG"},
		{huge, "the limit is 134217728 pixels"}, {good[:len(good)-30], "not enough pixel data"}, {good[:20], "truncated"},
	} {
		path := filepath.Join(t.TempDir(), "x.png")
		if err := os.WriteFile(path, c.data, 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := ReadFile(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not say %q", err, c.want)
		}
	}
	if _, err := ReadFile("testdata/none.png"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Damaged files of every format give an error or a picture, never a panic.
func TestDecodeDamaged(t *testing.T) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !IsImageName(file) {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < min(len(data), 700); i += 5 {
			Decode(bytes.NewReader(data[:i]))
			for _, bit := range []byte{1, 0x80, 0xff} {
				bad := slices.Clone(data)
				bad[i] ^= bit
				// Skip what is sound but big: it costs time, not safety.
				if cfg, _, err := image.DecodeConfig(bytes.NewReader(bad)); err == nil && cfg.Width*cfg.Height > 1<<16 {
					continue
				}
				Decode(bytes.NewReader(bad))
			}
		}
	}
}

func TestWriteLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.png")
	if err := os.WriteFile(path, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left on device")
	err := atomicfile.Write(path, func(w io.Writer) error {
		w.Write([]byte("half"))
		return full
	})
	if !errors.Is(err, full) {
		t.Error(err)
	}
	entries, _ := os.ReadDir(dir)
	if old, _ := os.ReadFile(path); string(old) != "old" || len(entries) != 1 {
		t.Errorf("%q, %d files", old, len(entries))
	}
	if err := WriteFile(filepath.Join(dir, "none", "x.png"), New(1, 1, 1)); err == nil || !strings.Contains(err.Error(), "none") {
		t.Error(err)
	}
}

// MATLAB documents rgb2ycbcr by these corners; the rest is linear.
func TestYCbCr(t *testing.T) {
	for _, c := range []struct{ rgb, want [3]float64 }{
		{[3]float64{0, 0, 0}, [3]float64{16, 128, 128}},
		{[3]float64{1, 1, 1}, [3]float64{235, 128, 128}},
		{[3]float64{1, 0, 0}, [3]float64{81.481, 90.203, 240}},
		{[3]float64{0, 1, 0}, [3]float64{144.553, 53.797, 34.214}},
		{[3]float64{0, 0, 1}, [3]float64{40.966, 240, 109.786}},
	} {
		m := New(1, 1, 3)
		for i, v := range c.rgb {
			m.Pix[i] = float32(v)
		}
		ycc := m.ToYCbCr()
		for i, v := range c.want {
			if math.Abs(float64(ycc.Pix[i])*255-v) > 2e-5 {
				t.Errorf("%v channel %d: %v, want %v", c.rgb, i, ycc.Pix[i]*255, v)
			}
		}
		if y := m.Y(); math.Abs(float64(y.Pix[0])*255-c.want[0]) > 2e-5 {
			t.Errorf("%v: Y %v", c.rgb, y.Pix[0])
		}
		back, err := ycc.FromYCbCr()
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range c.rgb {
			if math.Abs(float64(back.Pix[i])-v) > 1e-6 {
				t.Errorf("%v comes back as %v", c.rgb, back.Pix)
			}
		}
	}
	if _, err := New(1, 1, 1).FromYCbCr(); err == nil {
		t.Error("one channel is no YCbCr")
	}
	gray := New(1, 1, 1)
	gray.Pix[0] = 0.5
	if ycc := gray.ToYCbCr(); ycc.Pix[0] != gray.ToRGB().ToYCbCr().Pix[0] || math.Abs(float64(ycc.Pix[1])*255-128) > 1e-4 {
		t.Error(ycc.Pix)
	}
}

func TestResizeShapes(t *testing.T) {
	m := New(13, 9, 3)
	m.Alpha = make([]float32, 13*9)
	for i := range m.Pix {
		m.Pix[i] = 0.25
	}
	for i := range m.Alpha {
		m.Alpha[i] = 0.5
	}
	for _, size := range [][2]int{{1, 1}, {13, 9}, {26, 18}, {5, 30}, {40, 3}} {
		out, err := Resize(m, size[0], size[1])
		if err != nil || out.Width != size[0] || out.Height != size[1] {
			t.Fatal(err)
		}
		for _, v := range out.Pix {
			if math.Abs(float64(v)-0.25) > 1e-6 {
				t.Fatalf("%v: a flat picture has %v", size, v)
			}
		}
		if math.Abs(float64(out.Alpha[0])-0.5) > 1e-6 {
			t.Errorf("alpha %v", out.Alpha[0])
		}
	}
	same, _ := Resize(read(t, "testdata/rgb.png"), 7, 5)
	if !slices.Equal(same.Pix, read(t, "testdata/rgb.png").Pix) {
		t.Error("the same size changes pixels")
	}
	for _, size := range [][2]int{{0, 5}, {5, -1}, {1 << 20, 1 << 20}} {
		if _, err := Resize(m, size[0], size[1]); err == nil {
			t.Errorf("%v is accepted", size)
		}
	}
}

func TestCode8(t *testing.T) {
	for v, want := range map[float32]uint8{-1: 0, 0: 0, 0.5 / 255: 1, 1: 255, 7: 255, 100.4 / 255: 100} {
		if got := Code8(v); got != want {
			t.Errorf("%v is %d, want %d", v, got, want)
		}
	}
	if Code8(float32(math.NaN())) != 0 {
		t.Error("NaN")
	}
}

func BenchmarkUpscale4K(b *testing.B) {
	m := New(3840, 2160, 3)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Resize(m, 7680, 4320); err != nil {
			b.Fatal(err)
		}
	}
}
