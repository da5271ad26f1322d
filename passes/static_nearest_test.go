package passes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

// TestNearestLast: a convolution that makes a picture of repeated pixels reads what was repeated.
func TestNearestLast(t *testing.T) {
	pass := Pass{"nearest", func(_ context.Context, m *onnx.Model) (int, error) {
		if err := onnx.Infer(m); err != nil {
			return 0, err
		}
		before := operators(m.Graph)
		nearestLast(m.Graph)
		if operators(m.Graph) != before {
			return 1, nil
		}
		return 0, nil
	}}
	// Rows -1 0 1 of the kernel read for the first row of a block the row above, and twice the one they are made of; for the second
	// one twice that and the row below.
	graph := func(weights, resize, conv string) string {
		return fmt.Sprintf(`g (float[1,2,h,w] x) => (float[1,1,H,W] y) <float[4] s = {1, 1, 2, 2}, float[1,2,3,1] k = {%s}, float[1] b = {0.5}>
{ r = Resize <%s> (x, , s)  y = Conv <%s> (r, k, b) }`, weights, resize, conv)
	}
	const weights, resize, conv = "1, 2, 4, 8, 16, 32", `mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"`, "pads = [1,0,1,0]"
	const after = `g (float[1,2,h,w] x) => (float[1,1,H,W] y) <float[4,2,3,1] k = {1, 6, 0, 8, 48, 0, 1, 6, 0, 8, 48, 0, 0, 3, 4, 0, 24, 32, 0, 3, 4, 0, 24, 32}, float[4] b = {0.5, 0.5, 0.5, 0.5}>
{ y_blocks = Conv <pads = [1,0,1,0]> (x, k, b)  y = DepthToSpace <blocksize = 2> (y_blocks) }`
	list := []rewrite{{"asymmetric", graph(weights, resize, conv), after}}
	for _, r := range []string{`nearest_mode = "round_prefer_ceil"`, `coordinate_transformation_mode = "tf_half_pixel_for_nn", nearest_mode = "floor"`} {
		list = append(list, rewrite{r, graph(weights, r, conv), after})
	}
	for _, same := range []string{
		graph(weights, `coordinate_transformation_mode = "asymmetric"`, conv), // rounds
		graph(weights, `mode = "linear"`, conv),
		graph(weights, resize, "pads = [1,0,1,0], strides = [2,1]"),
		graph(weights, resize, ""),
		strings.Replace(graph(weights, resize, conv), "2, 2}", "2, 3}", 1),
		strings.Replace(graph(weights, resize, conv), "(x, , s)", "(x, , s) z = Relu (r)", 1),
	} {
		list = append(list, rewrite{"stays", same, same})
	}
	checkRewrites(t, pass, list)
}

// TestNearestLastKernels: values stay what they were for kernels and factors of all sizes, at the borders too.
func TestNearestLastKernels(t *testing.T) {
	for _, tc := range []struct{ factor, rows, columns, wide, high int }{{2, 1, 1, 1, 1}, {2, 3, 3, 3, 3}, {2, 5, 4, 3, 3}, {2, 9, 9, 5, 5}, {3, 7, 3, 3, 3}, {4, 9, 11, 3, 5}} {
		m := parseInferred(t, fmt.Sprintf(`<ir_version: 8, opset_import: ["" : 13]> g (float[1,4,h,w] x, float[3,4,%[2]d,%[3]d] k, float[3] b) => (float[1,3,H,W] y) <float[4] s = {1, 1, %[1]d, %[1]d}>
{ r = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, , s)  y = Conv <pads = [%[4]d,%[5]d,%[6]d,%[7]d]> (r, k, b) }`,
			tc.factor, tc.rows, tc.columns, (tc.rows-1)/2, (tc.columns-1)/2, tc.rows/2, tc.columns/2))
		fill(t, m)
		before := m.Clone()
		nearestLast(m.Graph)
		if got := m.Graph.Nodes[0].Inputs[1].Const.Shape; !slices.Equal(got[1:], []int64{4, int64(tc.wide), int64(tc.high)}) {
			t.Errorf("%v: weights are %v", tc, got)
		}
		checkRewritten(t, m, before, "Conv DepthToSpace")
	}
}
