package imaging

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg"
	_ "image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"
)

// ErrFormat says that data is no picture of a known format.
var ErrFormat = errors.New("not a PNG, JPEG, BMP, TIFF or WebP picture")

var extensions = []string{".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}

// IsImageName reports whether a file name ends like a picture ReadFile can read.
func IsImageName(name string) bool {
	return slices.Contains(extensions, strings.ToLower(filepath.Ext(name)))
}

// ReadFile decodes a picture; errors name the file.
func ReadFile(path string) (*Image, error) {
	p, err := Open(path)
	if err != nil {
		return nil, err
	}
	return p.Image(), nil
}

// Open is ReadFile for pictures that are too large as float32: samples stay in the
// form of the file.
func Open(path string) (*Picture, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read picture: %w", err)
	}
	defer f.Close()
	p, err := decode(f)
	if err != nil {
		return nil, fmt.Errorf("cannot read picture %s: %w", path, err)
	}
	return p, nil
}

// Decode reads a PNG, JPEG, BMP, TIFF or WebP picture. The size is taken from
// the header and checked against MaxPixels before pixels are allocated. The
// EXIF orientation of a JPEG is applied.
func Decode(r io.Reader) (*Image, error) {
	p, err := decode(r)
	if err != nil {
		return nil, err
	}
	return p.Image(), nil
}

func decode(r io.Reader) (*Picture, error) {
	// The header is read twice; whatever DecodeConfig consumed is replayed.
	var head bytes.Buffer
	cfg, format, err := image.DecodeConfig(io.TeeReader(r, &head))
	if errors.Is(err, image.ErrFormat) {
		return nil, ErrFormat
	}
	if err != nil {
		return nil, decodeError(format, err)
	}
	if cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > MaxPixels/cfg.Height {
		return nil, fmt.Errorf("%dx%d pixels: the limit is %d pixels in all", cfg.Width, cfg.Height, MaxPixels)
	}
	header := slices.Clone(head.Bytes())
	src, _, err := image.Decode(io.MultiReader(&head, r))
	if err != nil {
		return nil, decodeError(format, err)
	}
	orientation := 1
	if format == "jpeg" {
		orientation = exifOrientation(header)
	}
	return newPicture(src, format == "png" && grayPNG(header), orientation), nil
}

func decodeError(format string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s data end too early: the file is truncated", format)
	}
	return err
}

// grayPNG reports whether a PNG's colour type is gray or gray with alpha; the
// standard decoder returns the latter as RGBA.
func grayPNG(header []byte) bool {
	const colorType = 8 + 8 + 9
	return len(header) > colorType && header[colorType]&3 == 0
}

// sampler returns a function that reads one pixel as 0..1, not premultiplied.
// The types that decoders return are read directly; color.Color would lose
// precision under small alpha.
func sampler(src image.Image) func(x, y int) (r, g, b, a float32) {
	u8 := func(v uint8) float32 { return float32(v) / 255 }
	u16 := func(v uint16) float32 { return float32(v) / 65535 }
	switch s := src.(type) {
	case *image.Gray:
		return func(x, y int) (r, g, b, a float32) {
			v := u8(s.Pix[s.PixOffset(x, y)])
			return v, v, v, 1
		}
	case *image.Gray16:
		return func(x, y int) (r, g, b, a float32) {
			v := u16(s.Gray16At(x, y).Y)
			return v, v, v, 1
		}
	case *image.NRGBA:
		return func(x, y int) (r, g, b, a float32) {
			p := s.Pix[s.PixOffset(x, y):]
			return u8(p[0]), u8(p[1]), u8(p[2]), u8(p[3])
		}
	case *image.NRGBA64:
		return func(x, y int) (r, g, b, a float32) {
			c := s.NRGBA64At(x, y)
			return u16(c.R), u16(c.G), u16(c.B), u16(c.A)
		}
	case *image.RGBA:
		return func(x, y int) (r, g, b, a float32) {
			p := s.Pix[s.PixOffset(x, y):]
			return unpremultiply(float32(p[0]), float32(p[1]), float32(p[2]), float32(p[3]), 255)
		}
	case *image.RGBA64:
		return func(x, y int) (r, g, b, a float32) {
			c := s.RGBA64At(x, y)
			return unpremultiply(float32(c.R), float32(c.G), float32(c.B), float32(c.A), 65535)
		}
	case *image.YCbCr:
		return func(x, y int) (r, g, b, a float32) {
			c := s.YCbCrAt(x, y)
			r8, g8, b8 := color.YCbCrToRGB(c.Y, c.Cb, c.Cr)
			return u8(r8), u8(g8), u8(b8), 1
		}
	case *image.NYCbCrA:
		return func(x, y int) (r, g, b, a float32) {
			c := s.NYCbCrAAt(x, y)
			r8, g8, b8 := color.YCbCrToRGB(c.Y, c.Cb, c.Cr)
			return u8(r8), u8(g8), u8(b8), u8(c.A)
		}
	case *image.CMYK:
		return func(x, y int) (r, g, b, a float32) {
			c := s.CMYKAt(x, y)
			r8, g8, b8 := color.CMYKToRGB(c.C, c.M, c.Y, c.K)
			return u8(r8), u8(g8), u8(b8), 1
		}
	case *image.Paletted:
		palette := make([][4]float32, 256) // an index beyond the palette is black
		for i := range palette {
			palette[i][3] = 1
		}
		for i, c := range s.Palette {
			r, g, b, a := fromColor(c)
			palette[i] = [4]float32{r, g, b, a}
		}
		return func(x, y int) (r, g, b, a float32) {
			p := &palette[s.Pix[s.PixOffset(x, y)]]
			return p[0], p[1], p[2], p[3]
		}
	}
	return func(x, y int) (r, g, b, a float32) { return fromColor(src.At(x, y)) }
}

func fromColor(c color.Color) (r, g, b, a float32) {
	if n, ok := c.(color.NRGBA); ok {
		return float32(n.R) / 255, float32(n.G) / 255, float32(n.B) / 255, float32(n.A) / 255
	}
	cr, cg, cb, ca := c.RGBA()
	return unpremultiply(float32(cr), float32(cg), float32(cb), float32(ca), 65535)
}

func unpremultiply(r, g, b, a, full float32) (_, _, _, _ float32) {
	if a == 0 {
		return 0, 0, 0, 0
	}
	return min(r/a, 1), min(g/a, 1), min(b/a, 1), a / full
}
