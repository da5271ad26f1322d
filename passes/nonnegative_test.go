package passes

import (
	"testing"

	"github.com/daq-sr/daq/onnx"
)

func TestNonNegative(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       bool
	}{
		{"relu", "y = Relu (x)", true},
		{"input", "y = Identity (x)", false},
		{"leaky relu", "y = LeakyRelu <alpha = 0.1> (x)", false},
		{"relu through a pooling and a reshape", "a = Relu (x) b = MaxPool <kernel_shape = [2, 2]> (a) y = DepthToSpace <blocksize = 2> (b)", true},
		{"nearest resize", `a = Relu (x) y = Resize <mode = "nearest"> (a, , scales)`, true},
		{"cubic resize overshoots", `a = Relu (x) y = Resize <mode = "cubic"> (a, , scales)`, false},
		{"concat of two relus", "a = Relu (x) b = Sigmoid (x) y = Concat <axis = 1> (a, b)", true},
		{"concat with a signed tensor", "a = Relu (x) y = Concat <axis = 1> (a, x)", false},
		{"sum of two relus", "a = Relu (x) b = Abs (x) y = Add (a, b)", true},
		{"relu plus a negative constant", "a = Relu (x) y = Add (a, minus)", false},
		{"relu times a positive constant", "a = Relu (x) y = Mul (a, two)", true},
		{"difference of two relus", "a = Relu (x) b = Relu (x) y = Sub (a, b)", false},
		{"clip at zero", "y = Clip (x, zero, two)", true},
		{"clip below zero", "y = Clip (x, minus, two)", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := onnx.Parse(`<ir_version: 8, opset_import: ["" : 17]>
				g (float[1,4,8,8] x) => (float[1,c,h,w] y)
				<float[4] scales = {1, 1, 2, 2}, float zero = {0}, float two = {2}, float minus = {-1}>
				{ ` + tc.body + ` }`)
			if err != nil {
				t.Fatal(err)
			}
			if got := NonNegative(m.Graph.Outputs[0]); got != tc.want {
				t.Errorf("NonNegative = %v, want %v", got, tc.want)
			}
		})
	}
}
