package converter

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/models"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// Networks are tried on the upper left part of this built-in photograph to find
// their scale and input range: always the same one, so that what is found does
// not depend on the user's pictures.
const (
	probeName = "validation/HR/life_by_Aitzol_Berasategi.png"
	probeSize = 128
)

// Open compiles a network for pictures. Where in does not say how they enter,
// the file's own metadata or a try on a built-in photograph does.
func Open(ctx context.Context, m *onnx.Model, in calib.Input, o runtime.Options) (*calib.Network, error) {
	if in.Range == 0 {
		in.Range = rangeOf(m)
	}
	m, err := anySize(ctx, m)
	if err != nil {
		return nil, err
	}
	probe, err := probe()
	if err != nil {
		return nil, err
	}
	return calib.Open(ctx, m, in, o, probe)
}

func probe() (*imaging.Image, error) {
	f, err := models.BuiltinImages().Open(probeName)
	if err != nil {
		return nil, fmt.Errorf("built-in photograph: %w", err)
	}
	defer f.Close()
	whole, err := imaging.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("built-in photograph: %w", err)
	}
	return whole.Crop(probeSize, probeSize)
}
