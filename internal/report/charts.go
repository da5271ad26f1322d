package report

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/inspect"
)

// Charts are laid out here and drawn by the template, in pixels of a viewBox.

// tick is a line of the grid.
type tick struct {
	At    float64
	Label string
}

// chart is horizontal bars: for each picture what the float and the quantized
// network gain over bicubic. Bars begin at zero, so lengths can be compared.
type chart struct {
	Height     float64
	Base, Zero float64 // y of the lower end, x of no gain
	Ticks      []tick
	Bars       []bars
}

type bars struct {
	Name, Short            string
	Y                      float64
	Float, Quantized       bar
	FloatPSNR, BicubicPSNR float64
	QuantizedPSNR          float64
}

type bar struct {
	X, Width, End float64 // End is where its label goes
	Gain          float64
}

const (
	barsLeft, barsRight = 190.0, 700.0 // of the plot; names are left, labels right of it
	barsTop, barsPitch  = 10.0, 46.0
)

func gains(images []converter.ImageReport) chart {
	least, most := 0.0, 0.5
	for _, i := range images {
		for _, g := range []float64{i.Float.PSNR - i.Bicubic.PSNR, i.Quantized.PSNR - i.Bicubic.PSNR} {
			least, most = min(least, g), max(most, g)
		}
	}
	at := func(v float64) float64 { return round(barsLeft + (v-least)/(most-least)*(barsRight-barsLeft)) }
	base := barsTop + barsPitch*float64(len(images))
	c := chart{Height: base + 24, Base: base, Zero: at(0)}
	for _, v := range ticksOf(least, most) {
		c.Ticks = append(c.Ticks, tick{at(v), fmt.Sprintf("%g", v)})
	}
	one := func(gain float64) bar {
		end := at(gain)
		return bar{X: min(end, c.Zero), Width: round(math.Abs(end - c.Zero)), End: max(end, c.Zero), Gain: gain}
	}
	for n, i := range images {
		c.Bars = append(c.Bars, bars{
			Name: i.Name, Short: shorten(i.Name, 24), Y: barsTop + barsPitch*float64(n),
			Float: one(i.Float.PSNR - i.Bicubic.PSNR), Quantized: one(i.Quantized.PSNR - i.Bicubic.PSNR),
			FloatPSNR: i.Float.PSNR, QuantizedPSNR: i.Quantized.PSNR, BicubicPSNR: i.Bicubic.PSNR,
		})
	}
	return c
}

// stepChart is the activation step of every quantized convolution: the range
// over its channels and the median.
type stepChart struct {
	Base   float64 // y of the axis
	Ticks  []tick
	Layers []layer
}

type layer struct {
	inspect.Convolution
	Number       int
	X            float64
	Top, Bottom  float64 // y of the largest and the least step
	Middle       float64 // y of the median
	Least, Most  float32
	Median       float32
	WeightsShape string
}

const (
	stepsLeft, stepsRight = 56.0, 880.0
	stepsTop, stepsBase   = 12.0, 220.0
)

// steps lays the chart out; it is empty when no layer has steps.
func steps(layers []inspect.Convolution) stepChart {
	c := stepChart{Base: stepsBase}
	most := float32(0)
	for _, l := range layers {
		if len(l.Steps) > 0 {
			most = max(most, slices.Max(l.Steps))
		}
	}
	if most == 0 {
		return stepChart{}
	}
	at := func(v float64) float64 { return round(stepsBase - v/float64(most)*(stepsBase-stepsTop)) }
	for _, v := range ticksOf(0, float64(most)) {
		c.Ticks = append(c.Ticks, tick{at(v), fmt.Sprintf("%g", v)})
	}
	pitch := (stepsRight - stepsLeft) / float64(len(layers))
	for n, conv := range layers {
		l := layer{Convolution: conv, Number: n + 1, X: round(stepsLeft + pitch*(float64(n)+0.5)), WeightsShape: shape(conv.Weights)}
		if len(conv.Steps) > 0 {
			sorted := slices.Sorted(slices.Values(conv.Steps))
			l.Least, l.Most, l.Median = sorted[0], sorted[len(sorted)-1], sorted[len(sorted)/2]
			l.Top, l.Bottom, l.Middle = at(float64(l.Most)), at(float64(l.Least)), at(float64(l.Median))
		}
		c.Layers = append(c.Layers, l)
	}
	return c
}

// Labels are the layers that have their number on the axis: all, or every so
// many.
func (c stepChart) Labels() []layer {
	every := (len(c.Layers) + 29) / 30
	var out []layer
	for i := 0; i < len(c.Layers); i += every {
		out = append(out, c.Layers[i])
	}
	return out
}

// ticksOf returns round numbers from least to most, about five.
func ticksOf(least, most float64) []float64 {
	raw := (most - least) / 5
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5, 10} {
		if unit*m >= raw {
			unit *= m
			break
		}
	}
	var out []float64
	for i := math.Ceil(least / unit); i*unit <= most*1.0001; i++ {
		out = append(out, math.Round(i*unit*1e6)/1e6)
	}
	return out
}

func round(v float64) float64 { return math.Round(v*10) / 10 }

func shape(dims []int64) string {
	s := ""
	for i, d := range dims {
		if i > 0 {
			s += "×"
		}
		s += fmt.Sprint(d)
	}
	return s
}

// shorten cuts the end off a long name.
func shorten(name string, most int) string {
	r := []rune(name)
	if len(r) <= most {
		return name
	}
	return string(r[:most-1]) + "…"
}
