package report

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html/template"
	"math"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/imaging"
)

// amplification of the difference picture: one of 255 steps becomes visible.
const amplification = 10

// row is one picture's crops side by side.
type row struct {
	Name  string
	Place string // where in the picture
	Drop  float64
	Tiles []tile
}

// tile is one crop. Alt is its text for those who cannot see it.
type tile struct {
	Title, Note, Alt string
	Source           template.URL // a PNG as data URI
}

func pictures(i converter.ImageReport) (row, error) {
	c := i.Crop
	r := row{
		Name: i.Name, Drop: -i.Drop,
		Place: fmt.Sprintf("%d×%d pixels at %d, %d of %d×%d", c.Original.Width, c.Original.Height, c.X, c.Y, i.Width, i.Height),
	}
	for _, t := range []struct {
		title, note, alt string
		picture          *imaging.Image
	}{
		{"Original", "", "the original", c.Original},
		{"Bicubic", decibels(i.Bicubic), "enlarged bicubically, " + decibels(i.Bicubic), c.Bicubic},
		{"Float", decibels(i.Float), "enlarged by the float network, " + decibels(i.Float), c.Float},
		{"Quantized", decibels(i.Quantized), "enlarged by the quantized network, " + decibels(i.Quantized), c.Quantized},
		{fmt.Sprintf("Difference ×%d", amplification), "|quantized − float|", "difference of quantized and float, " + differenceText(c), difference(c.Float, c.Quantized)},
	} {
		uri, err := dataURI(t.picture)
		if err != nil {
			return row{}, err
		}
		r.Tiles = append(r.Tiles, tile{t.title, t.note, fmt.Sprintf("Crop of %s, %s", i.Name, t.alt), uri})
	}
	return r, nil
}

func decibels(q converter.Quality) string { return fmt.Sprintf("%.2f dB", q.PSNR) }

// difference is the amplified absolute difference, as 8-bit pictures show it.
func difference(a, b *imaging.Image) *imaging.Image {
	out := imaging.New(a.Width, a.Height, a.Channels)
	for i := range out.Pix {
		d := math.Abs(float64(imaging.Code8(a.Pix[i])) - float64(imaging.Code8(b.Pix[i])))
		out.Pix[i] = float32(d * amplification / 255)
	}
	return out
}

func differenceText(c *converter.Crop) string {
	largest, sum := 0.0, 0.0
	for i := range c.Float.Pix {
		d := math.Abs(float64(imaging.Code8(c.Float.Pix[i])) - float64(imaging.Code8(c.Quantized.Pix[i])))
		largest, sum = max(largest, d), sum+d
	}
	return fmt.Sprintf("on average %.1f and at most %.0f of 255", sum/float64(max(len(c.Float.Pix), 1)), largest)
}

func dataURI(m *imaging.Image) (template.URL, error) {
	flat := *m
	flat.Depth, flat.Alpha = 8, nil
	var b bytes.Buffer
	if err := imaging.EncodePNG(&b, &flat); err != nil {
		return "", err
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes())), nil
}
