package main

import (
	"regexp"

	"github.com/spf13/pflag"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/passes"
)

// inputFlags say how pictures enter a network.
type inputFlags struct {
	inputRange string
	enlarge    int
}

func (f *inputFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.inputRange, "input-range", "auto", "`value` of white at the network's input: auto, 1 or 255")
	flags.IntVar(&f.enlarge, "enlarge", 0, "bicubic `factor` in front of a network that does not enlarge itself, such as VDSR (default 2)")
}

func (f *inputFlags) input() (calib.Input, error) {
	if err := oneOf("input-range", f.inputRange, "auto", "1", "255"); err != nil {
		return calib.Input{}, err
	}
	if f.enlarge < 0 || f.enlarge > maxEnlarge {
		return calib.Input{}, usagef("--enlarge %d: want 1 to %d", f.enlarge, maxEnlarge)
	}
	in := calib.Input{Enlarge: f.enlarge}
	switch f.inputRange {
	case "1":
		in.Range = 1
	case "255":
		in.Range = 255
	}
	return in, nil
}

const maxEnlarge = 16

// addExact adds --exact, which turns off what converter and runtime call Exact.
func addExact(flags *pflag.FlagSet, exact *bool) {
	flags.BoolVar(exact, "exact", false, "execute quantized convolutions node by node as the file says, not in integers: slower, and rounded as other runtimes do")
}

// layerFlags say which convolutions are quantized.
type layerFlags struct{ layers, include, exclude string }

func (f *layerFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.layers, "layers", "body", "`which` convolutions to quantize: body (those of residual and dense blocks) or all")
	flags.StringVar(&f.include, "include", "", "instead: every convolution whose name matches this regular `expression`")
	flags.StringVar(&f.exclude, "exclude", "", "and of these not the ones whose name matches this regular `expression`")
}

func (f *layerFlags) selection() (passes.Layers, error) {
	l := passes.Layers{All: f.layers == "all"}
	if err := oneOf("layers", f.layers, "body", "all"); err != nil {
		return l, err
	}
	var err error
	if l.Include, err = expression("include", f.include); err != nil {
		return l, err
	}
	l.Exclude, err = expression("exclude", f.exclude)
	return l, err
}

func expression(flag, text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, usagef("--%s %q: %v", flag, text, err)
	}
	return re, nil
}

// calibFlags name the calibration pictures.
type calibFlags struct {
	dir       string
	downscale int
}

func (f *calibFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.dir, "calib", "", "`folder` of pictures like those the network will see, at low resolution; 5 to 20 do")
	flags.IntVar(&f.downscale, "downscale", 1, "make low-resolution pictures from large ones: shrink them bicubically by this `factor`")
}

// dataset opens the folder; nil when none is given.
func (f *calibFlags) dataset() (*calib.Dataset, error) {
	if f.downscale < 1 {
		return nil, usagef("--downscale %d: want 1 or more", f.downscale)
	}
	if f.dir == "" {
		return nil, nil
	}
	return calib.OpenDataset(f.dir, f.downscale)
}
