package converter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

// Simplify returns a checked and simplified copy of a float network, with
// inferred types and dynamic height and width.
func Simplify(ctx context.Context, m *onnx.Model) (*onnx.Model, error) {
	if err := checkFloat(m); err != nil {
		return nil, err
	}
	simple, err := anySize(ctx, m)
	if err != nil {
		return nil, err
	}
	if _, err := passes.Simplify(ctx, simple); err != nil {
		return nil, err
	}
	return simple, nil
}

// anySize returns a copy of a network that takes pictures of any size.
func anySize(ctx context.Context, m *onnx.Model) (*onnx.Model, error) {
	free := m.Clone()
	if ok, err := passes.FreeSize(free); err != nil || ok {
		return free, err
	}
	// The sizes of a pixel shuffle that is written out are no reason to refuse.
	if _, err := passes.Repeat(ctx, free, passes.Constants, passes.PixelShuffle, passes.DeadCode); err != nil {
		return nil, err
	}
	if ok, err := passes.FreeSize(free); err != nil || ok {
		return free, err
	}
	return nil, fmt.Errorf("the network takes %s only, and sizes inside of it depend on that: export it with dynamic height and width", m.Graph.Inputs[0].Type)
}

// checkFloat refuses what cannot be quantized to anything useful: broken models,
// networks that are quantized already, weights that are not numbers.
func checkFloat(m *onnx.Model) error {
	if err := m.Check(); err != nil {
		return firstOf(err)
	}
	if m.Opset(passes.Domain) != 0 || m.Meta(metaVersion) != "" {
		return fmt.Errorf("the network is quantized already, or has functions of the domain %q: give the float network", passes.Domain)
	}
	for _, v := range m.Graph.Initializers() {
		if v.Const.Type != onnx.Float {
			continue
		}
		weights, err := v.Const.Float32s()
		if err != nil {
			return err
		}
		for i, w := range weights {
			if math.IsNaN(float64(w)) || math.IsInf(float64(w), 0) {
				return fmt.Errorf("tensor %q: element %d is %v: the network is broken, train or export it again", v.Name, i, w)
			}
		}
	}
	return nil
}

// firstOf returns the first of joined errors and how many more there are: a
// broken file is reported in one line.
func firstOf(err error) error {
	lines := strings.Split(err.Error(), "\n")
	if len(lines) == 1 {
		return err
	}
	return errors.New(lines[0] + fmt.Sprintf(" (and %d more problems: see daq inspect)", len(lines)-1))
}
