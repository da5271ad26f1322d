package imaging

import (
	"bytes"
	"errors"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// A picture written band by band is the file of the whole.
func TestBandsMakeTheSameFile(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for _, f := range []Format{{37, 23, 3, 8, false}, {37, 23, 3, 16, false}, {37, 23, 1, 8, false}, {37, 23, 1, 16, false}, {37, 23, 3, 8, true}, {37, 23, 1, 16, true}} {
		m := New(f.Width, f.Height, f.Channels)
		m.Depth = f.Depth
		for i := range m.Pix {
			m.Pix[i] = random.Float32()*1.2 - 0.1
		}
		if f.Alpha {
			m.Alpha = make([]float32, f.Width*f.Height)
			for i := range m.Alpha {
				m.Alpha[i] = random.Float32()
			}
		}
		var want, got bytes.Buffer
		if err := EncodePNG(&want, m); err != nil {
			t.Fatal(err)
		}
		if err := encodeBands(&got, f, inBands(m, 5, nil)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want.Bytes(), got.Bytes()) {
			t.Errorf("%+v: another file", f)
		}
	}
}

func inBands(m *Image, rows int, end error) iter.Seq2[*Image, error] {
	return func(yield func(*Image, error) bool) {
		for y := 0; y < m.Height; y += rows {
			if y > 10 && end != nil {
				yield(nil, end)
				return
			}
			n := min(rows, m.Height-y)
			band := New(m.Width, n, m.Channels)
			for c := range m.Channels {
				copy(band.Plane(c), m.Plane(c)[y*m.Width:])
			}
			if m.Alpha != nil {
				band.Alpha = m.Alpha[y*m.Width : (y+n)*m.Width]
			}
			if !yield(band, nil) {
				return
			}
		}
	}
}

func TestBandsThatEndEarlyLeaveNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.png")
	stop := errors.New("stop")
	m := New(20, 20, 3)
	if err := WriteBands(path, Format{20, 20, 3, 8, false}, inBands(m, 4, stop)); !errors.Is(err, stop) {
		t.Errorf("the error is %v", err)
	}
	if err := WriteBands(path, Format{20, 30, 3, 8, false}, inBands(m, 4, nil)); err == nil {
		t.Error("20 rows became a picture of 30")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file was left")
	}
}

func TestRegionIsPartOfTheImage(t *testing.T) {
	m := New(7, 5, 3)
	for i := range m.Pix {
		m.Pix[i] = float32(i) / 255
	}
	for o := range 9 {
		p := newPicture(m.toStd(), false, o)
		whole := p.Image()
		part := p.Region(1, 2, 3, 2)
		for i := range 6 {
			if part.Plane(1)[i] != whole.Plane(1)[(2+i/3)*whole.Width+1+i%3] {
				t.Errorf("orientation %d: pixel %d differs", o, i)
			}
		}
	}
}
