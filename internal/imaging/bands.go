package imaging

import (
	"bufio"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"iter"

	"github.com/daq-sr/daq/internal/atomicfile"
)

// Format is what a picture file holds besides its pixels.
type Format struct {
	Width, Height, Channels, Depth int
	Alpha                          bool
}

// WriteBands is WriteFile of a picture that is made while it is written: bands are
// as wide as the picture, from top to bottom, and a band is not used after the
// next one is asked for. The file is complete or absent.
func WriteBands(path string, f Format, bands iter.Seq2[*Image, error]) error {
	var failed error // of the bands, which needs no further words
	err := atomicfile.Write(path, func(w io.Writer) error {
		failed = encodeBands(w, f, bands)
		return failed
	})
	if err != nil && err != failed {
		return fmt.Errorf("cannot write picture %s: %w", path, err)
	}
	return err
}

func encodeBands(w io.Writer, f Format, bands iter.Seq2[*Image, error]) (err error) {
	next, stop := iter.Pull2(bands)
	defer stop()
	s := &strip{Format: f, next: next}
	defer func() {
		// The encoder asks for pixels and cannot be told that there are no more.
		if p := recover(); p != nil {
			if p != s {
				panic(p)
			}
			err = s.err
		}
	}()
	b := bufio.NewWriterSize(w, 1<<16)
	if err := png.Encode(b, s); err != nil {
		return fmt.Errorf("png: %w", err)
	}
	return b.Flush()
}

// strip is a picture of which one band is there: image/png reads row by row.
type strip struct {
	Format
	next func() (*Image, error, bool)
	top  int // row of the picture at which the band begins
	rows image.Image
	err  error
}

func (s *strip) Bounds() image.Rectangle { return image.Rect(0, 0, s.Width, s.Height) }

// Opaque spares the encoder a look at all pixels.
func (s *strip) Opaque() bool { return !s.Alpha }

func (s *strip) ColorModel() color.Model {
	switch {
	case s.Channels == 1 && !s.Alpha && s.Depth == 16:
		return color.Gray16Model
	case s.Channels == 1 && !s.Alpha:
		return color.GrayModel
	case s.Depth == 16:
		return color.NRGBA64Model
	}
	return color.NRGBAModel
}

// At panics with s when there is no such band.
func (s *strip) At(x, y int) color.Color {
	for s.rows == nil || y >= s.top+s.rows.Bounds().Dy() {
		if s.rows != nil {
			s.top += s.rows.Bounds().Dy()
		}
		band, err, ok := s.next()
		if err == nil && (!ok || band.Width != s.Width) {
			err = fmt.Errorf("the picture ends at row %d of %d", s.top, s.Height)
		}
		if err != nil {
			s.err = err
			panic(s)
		}
		band.Depth = s.Depth
		s.rows = band.toStd()
	}
	return s.rows.At(x, y-s.top)
}
