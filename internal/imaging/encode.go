package imaging

import (
	"bufio"
	"fmt"
	"image"
	"image/png"
	"io"

	"github.com/daq-sr/daq/internal/atomicfile"
)

// WriteFile writes a PNG of m.Depth bits atomically: a full disk or an
// interruption leaves no partial file and keeps an existing one.
func WriteFile(path string, m *Image) error {
	err := atomicfile.Write(path, func(w io.Writer) error { return EncodePNG(w, m) })
	if err != nil {
		return fmt.Errorf("cannot write picture %s: %w", path, err)
	}
	return nil
}

// EncodePNG writes m as PNG with m.Depth (8 or 16) bits a sample; values are
// rounded and clamped. Gray stays gray unless there is alpha.
func EncodePNG(w io.Writer, m *Image) error {
	b := bufio.NewWriterSize(w, 1<<16)
	if err := png.Encode(b, m.toStd()); err != nil {
		return err
	}
	return b.Flush()
}

func (m *Image) toStd() image.Image {
	rect := image.Rect(0, 0, m.Width, m.Height)
	n := m.Width * m.Height
	bytes, levels := 1, 255.0
	if m.Depth == 16 {
		bytes, levels = 2, 65535
	}
	put := func(dst []uint8, v float32) {
		q := uint16(quantize(v, levels))
		if bytes == 2 {
			dst[0] = uint8(q >> 8)
			dst = dst[1:]
		}
		dst[0] = uint8(q)
	}
	if m.Channels == 1 && m.Alpha == nil {
		pix := make([]uint8, n*bytes)
		for i, v := range m.Pix[:n] {
			put(pix[i*bytes:], v)
		}
		if bytes == 2 {
			return &image.Gray16{Pix: pix, Stride: m.Width * 2, Rect: rect}
		}
		return &image.Gray{Pix: pix, Stride: m.Width, Rect: rect}
	}
	pix := make([]uint8, n*4*bytes)
	r, g, b := m.rgb()
	for i := range n {
		p := pix[i*4*bytes:]
		put(p, r[i])
		put(p[bytes:], g[i])
		put(p[2*bytes:], b[i])
		a := float32(1)
		if m.Alpha != nil {
			a = m.Alpha[i]
		}
		put(p[3*bytes:], a)
	}
	if bytes == 2 {
		return &image.NRGBA64{Pix: pix, Stride: m.Width * 8, Rect: rect}
	}
	return &image.NRGBA{Pix: pix, Stride: m.Width * 4, Rect: rect}
}
