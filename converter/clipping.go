package converter

import (
	"context"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/lint"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// Clipping runs a network with QuantizeLinear over a folder of pictures, one at a
// time, and counts the values that the codes do not hold.
func Clipping(ctx context.Context, m *onnx.Model, dir string, in calib.Input, threads int, progress Progress) (*lint.Data, error) {
	images, err := calib.OpenDataset(dir, 1)
	if err != nil {
		return nil, err
	}
	data, err := lint.NewData(m)
	if err != nil {
		return nil, err
	}
	n, err := Open(ctx, m, in, runtime.Options{Threads: threads, Observe: data.Names()})
	if err != nil {
		return nil, err
	}
	done, total := 0, len(images.Names())
	progress.report("pictures", 0, total)
	return data, images.Each(ctx, func(_ string, image *imaging.Image) error {
		_, err := n.Run(ctx, image, data.Observe)
		done++
		progress.report("pictures", done, total)
		return err
	})
}
