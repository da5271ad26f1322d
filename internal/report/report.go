// Package report writes the outcome of a validation as one HTML file: figures
// first, then pictures side by side and plots. The file holds everything it
// shows and runs no scripts, so it can be mailed, archived and opened anywhere.
package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/inspect"
)

// Page is what a report shows. Zero values leave a part out.
type Page struct {
	Network        string // name of the network
	Report         *converter.Report
	Layers         []inspect.Convolution // of the quantized network
	FloatBytes     int64                 // size of the file
	QuantizedBytes int64
	Elapsed        time.Duration // of the validation
	Version        string        // of the program
}

// mostPictures is how many pictures have bars and crops: more would make a file
// that no browser likes. Those with the largest drop are shown.
const mostPictures = 16

//go:embed page.html
var source string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"db":    func(v float64) string { return fmt.Sprintf("%.2f", v) },
	"ssim":  func(v float64) string { return fmt.Sprintf("%.4f", v) },
	"minus": minus,
	"bytes": Bytes,
}).Parse(source))

// minus writes a signed number with a real minus sign.
func minus(v float64) string {
	return strings.Replace(fmt.Sprintf("%+.2f", v), "-", "−", 1)
}

// Bytes writes a file size in units of 1000: "812 B", "791.6 kB", "5.5 MB".
func Bytes(n int64) string {
	v, units := float64(n), []string{"B", "kB", "MB", "GB", "TB"}
	for len(units) > 1 && v >= 999.95 {
		v, units = v/1000, units[1:]
	}
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[0])
}

// Write renders the page. Pictures are encoded one after the other.
func Write(w io.Writer, p Page) error {
	v := view{Page: p, Mean: p.Report.Mean, Quantized: quantizedLayers(p.Layers)}
	v.Bits = bitsOf(v.Quantized)
	shown := slices.Clone(p.Report.Images)
	if len(shown) > mostPictures {
		slices.SortStableFunc(shown, func(a, b converter.ImageReport) int { return cmp.Compare(b.Drop, a.Drop) })
		shown = shown[:mostPictures]
		v.Omitted = len(p.Report.Images) - mostPictures
	}
	v.Gains = gains(shown)
	v.Steps = steps(v.Quantized)
	for _, i := range shown {
		if i.Crop == nil {
			continue
		}
		row, err := pictures(i)
		if err != nil {
			return fmt.Errorf("picture %s: %w", i.Name, err)
		}
		v.Pictures = append(v.Pictures, row)
	}
	return page.Execute(w, v)
}

// view is what the template reads.
type view struct {
	Page
	Mean      converter.Mean
	Quantized []inspect.Convolution
	Bits      string
	Omitted   int
	Gains     chart
	Steps     stepChart
	Pictures  []row
}

// Gain is what the quantized network gives above bicubic, in dB.
func (v view) Gain() float64 { return v.Mean.Quantized.PSNR - v.Mean.Bicubic.PSNR }

// Kept is the share in percent of the float network's gain over bicubic that is
// left.
func (v view) Kept() string {
	gain := v.Mean.Float.PSNR - v.Mean.Bicubic.PSNR
	if gain <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*v.Gain()/gain)
}

// Loss is the drop as a signed change.
func (v view) Loss() float64 { return -v.Report.Drop }

// Smaller is how many times smaller the file became.
func (v view) Smaller() string {
	if v.FloatBytes == 0 || v.QuantizedBytes == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f×", float64(v.FloatBytes)/float64(v.QuantizedBytes))
}

// Seconds is how long the validation took.
func (v view) Seconds() string { return fmt.Sprintf("%.1f s", v.Elapsed.Seconds()) }

func quantizedLayers(all []inspect.Convolution) []inspect.Convolution {
	var out []inspect.Convolution
	for _, c := range all {
		if c.Quantized() {
			out = append(out, c)
		}
	}
	return out
}

// bitsOf describes bit-widths: "4-bit weights, 3- to 4-bit activations".
func bitsOf(layers []inspect.Convolution) string {
	var weights, activations []int
	for _, c := range layers {
		if c.WeightBits > 0 {
			weights = append(weights, c.WeightBits)
		}
		if c.ActivationBits > 0 {
			activations = append(activations, c.ActivationBits)
		}
	}
	var parts []string
	for _, p := range []struct {
		bits []int
		what string
	}{{weights, "weights"}, {activations, "activations"}} {
		if len(p.bits) == 0 {
			continue
		}
		least, most := slices.Min(p.bits), slices.Max(p.bits)
		if least == most {
			parts = append(parts, fmt.Sprintf("%d-bit %s", least, p.what))
		} else {
			parts = append(parts, fmt.Sprintf("%d- to %d-bit %s", least, most, p.what))
		}
	}
	return strings.Join(parts, ", ")
}
