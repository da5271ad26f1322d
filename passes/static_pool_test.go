package passes

import "testing"

// TestPoolMoments: means and variances spelled out become GlobalAveragePool; what is no mean stays.
func TestPoolMoments(t *testing.T) {
	const types = `<ir_version: 8, opset_import: ["" : 13]>
g (float[1,4,h,w] x) => (float[1,4,1,1] y) <int64[1] rows = {2}, int64[1] columns = {3}, int64 two = {2}, int64 three = {3}, float square = {2}, float root = {0.5}> `
	const area = ` s = Shape (x)  h = Gather (s, two)  w = Gather (s, three)  hw = Mul (h, w)  area = Cast <to = 1> (hw) `
	for _, tc := range []struct{ name, graph, want string }{
		{"mean and deviation", `{` + area + `a = ReduceSum <keepdims = 1> (x, columns)  b = ReduceSum <keepdims = 1> (a, rows)  mean = Div (b, area)
d = Sub (x, mean)  d2 = Pow (d, square)  c = ReduceSum <keepdims = 1> (d2, columns)  e = ReduceSum <keepdims = 1> (c, rows)  variance = Div (e, area)  deviation = Pow (variance, root)
pooled = GlobalAveragePool (x)  y = Add (deviation, pooled) }`, "GlobalAveragePool Pow GlobalAveragePool Mul Sub Relu Pow Add"},
		{"mean over rows alone", `{` + area + `a = ReduceSum <keepdims = 1> (x, rows)  b = Div (a, area)  y = GlobalAveragePool (b) }`, ""},
		{"difference from another mean", `{ z = Sigmoid (x)  m = GlobalAveragePool (z)  d = Sub (x, m)  d2 = Pow (d, square)  y = GlobalAveragePool (d2) }`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := parseInferred(t, types+tc.graph)
			before := m.Clone()
			if err := poolMoments(m); err != nil {
				t.Fatal(err)
			}
			checkRewritten(t, m, before, tc.want)
		})
	}
}
