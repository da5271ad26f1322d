package passes

import (
	"context"

	"github.com/daq-sr/daq/onnx"
)

// Simplify rewrites a model, in place, to one that computes the same with fewer
// nodes: constants are computed, BatchNormalization and 1x1 convolutions go into convolutions,
// shape arithmetic whose result is known goes away. Sizes that were dynamic stay
// so. Types are inferred when it returns. Weights that the file lists as inputs
// with defaults become constants.
func Simplify(ctx context.Context, m *onnx.Model) (Report, error) {
	return Repeat(ctx, m, Names, Constants, Identities, Shapes, Sizes, PixelShuffle, Fold, Affine, Compose, Duplicates, DeadCode)
}
