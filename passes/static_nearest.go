package passes

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// nearestLast lets a convolution that makes a picture of what a nearest Resize repeats read
// what was repeated, and shuffles the picture. Pixels repeated b*b times are a DepthToSpace of b*b copies, so
// the convolution moves in front of that as in shuffleLast, and reads one copy with the
// sum of the weights it has for each. Borders are exact: row y of the large picture is
// padding just where row floor(y/b) of the small one is. It multiplies no more often, for sixteen
// outputs at a time where it had three, and nothing is repeated. Types must be inferred.
//
//	x [N,C,H,W] -> Resize -> Conv          [N,O,H*b,W*b]
//	x [N,C,H,W] -> Conv -> DepthToSpace    [N,O,H*b,W*b]
func nearestLast(g *onnx.Graph) {
	for _, n := range slices.Clone(g.Nodes) {
		block := repeats(n)
		if block < 2 {
			continue
		}
		conv, channels := onlyReader(n.Outputs[0]), channelsOf(n.Inputs[0])
		if conv == nil || channels <= 0 || !shufflable(conv) {
			continue
		}
		shuffle := &onnx.Node{Op: "DepthToSpace", Name: n.Name, Attrs: []*onnx.Attribute{onnx.Attr("blocksize", block)}}
		shuffleWeights(conv, shuffle, int(channels))
		conv.SetInput(0, n.Inputs[0])
		g.Remove(n)
		insertShuffle(conv, shuffle)
	}
}

// repeats returns how often a Resize repeats each row and column, 0 where it does anything else. Output i = q*b+r reads
// at i/b and rounds down, or at q + (r+0.5)/b, with or without the half of a pixel, less than which it is off q then.
func repeats(n *onnx.Node) int64 {
	if !n.Is("Resize") || n.Str("mode", "nearest") != "nearest" || n.Attr("axes") != nil || n.Input(3) != nil || n.Input(2) == nil || n.Inputs[2].Const == nil {
		return 0
	}
	rounding := n.Str("nearest_mode", "round_prefer_floor")
	switch n.Str("coordinate_transformation_mode", "half_pixel") {
	case "asymmetric", "tf_half_pixel_for_nn":
		if rounding != "floor" {
			return 0
		}
	case "half_pixel":
		if rounding != "round_prefer_floor" && rounding != "round_prefer_ceil" {
			return 0
		}
	default:
		return 0
	}
	s, err := n.Inputs[2].Const.Float32s()
	if err != nil || len(s) != 4 || s[0] != 1 || s[1] != 1 || s[2] != s[3] || !(s[2] >= 2 && s[2] <= 16) || s[2] != float32(int64(s[2])) {
		return 0
	}
	return int64(s[2])
}
