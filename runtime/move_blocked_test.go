package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

// A Slice of a blocked map, what a convolution by the identity makes, is that of the
// planar one.
func TestSliceBlocked(t *testing.T) {
	const channels = 20
	identity := make([]string, channels*channels)
	for i := range identity {
		identity[i] = fmt.Sprint(0)
		if i/channels == i%channels {
			identity[i] = fmt.Sprint(1)
		}
	}
	for _, c := range []struct{ starts, ends, axes, steps string }{
		{"1, 2", "5, 9", "2, 3", "1, 1"},
		{"-3, 0", "100, 7", "2, 3", "1, 3"},
		{"100, -2", "-100, 1", "2, 3", "-1, -2"},
		{"0, 3", "2, 4", "0, 2", "1, 1"},
		{"1, 3", "2, 4", "0, 2", "1, 1"},
		{"3, 3", "17, 8", "1, 3", "1, 1"},
		{"0, 3", "20, 8", "1, 3", "1, 1"},
		{"19, 3", "-21, 8", "1, 3", "-1, 1"},
		{"4, 3", "4, 8", "2, 3", "1, 1"},
	} {
		m, err := onnx.Parse(fmt.Sprintf(`<ir_version: 10, opset_import: ["": 21]>
g (float[N,%d,H,W] x) => (float[A,B,C,D] y, float[A,B,C,D] z)
<float[%[1]d,%[1]d,1,1] w = {%s}, int64[2] s = {%s}, int64[2] e = {%s}, int64[2] a = {%s}, int64[2] t = {%s}>
{
  c = Conv (x, w)
  y = Slice (c, s, e, a, t)
  z = Slice (x, s, e, a, t)
}`, channels, strings.Join(identity, ", "), c.starts, c.ends, c.axes, c.steps))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Compile(m, Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.Run(context.Background(), map[string]*Tensor{"x": noise(2, channels, 8, 11, 1)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if y, z := out["y"], out["z"]; !slices.Equal(y.Shape, z.Shape) || !slices.Equal(y.Data.([]float32), z.Data.([]float32)) {
			t.Errorf("%+v: %v of the blocked map is not %v of the planar one", c, y, z)
		}
	}
}
