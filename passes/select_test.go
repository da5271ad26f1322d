package passes

import (
	"context"
	"regexp"
	"slices"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
)

// residual is a network with every part that the body rule distinguishes.
// Inputs behind the first are the weights (fillWeights).
const residual = `<ir_version: 8, opset_import: ["" : 17]>
sr (float[n,3,h,w] input, float[8,3,3,3] w0, float[8,8,3,3] w1, float[8,8,3,3] w2, float[8,8,1,1] w3, float[12,8,3,3] w4, float[3,3,3,3] w5)
=> (float[n,3,H,W] output)
{
  [head] f = Conv <pads = [1, 1, 1, 1]> (input, w0)
  [block_in] a = Conv <pads = [1, 1, 1, 1]> (f, w1)
  b = Relu (a)
  [block_out] c = Conv <pads = [1, 1, 1, 1]> (b, w2)
  pooled = GlobalAveragePool (c)
  [attention] weight = Conv (pooled, w3)
  gated = Mul (c, weight)
  d = Add (f, gated)
  [up] e = Conv <pads = [1, 1, 1, 1]> (d, w4)
  s = DepthToSpace <blocksize = 2> (e)
  [tail] output = Conv <pads = [1, 1, 1, 1]> (s, w5)
}`

func parseInferred(t *testing.T, text string) *onnx.Model {
	t.Helper()
	m, err := onnx.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range m.Graph.Inputs[1:] {
		fillWeights(t, v)
	}
	m.Graph.Inputs = m.Graph.Inputs[:1]
	if err := onnx.Infer(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSelect(t *testing.T) {
	for _, tc := range []struct {
		name   string
		layers Layers
		want   []string
	}{
		{"body", Layers{}, []string{"block_in", "block_out"}},
		{"all", Layers{All: true}, []string{"head", "block_in", "block_out", "attention", "up", "tail"}},
		{"include", Layers{Include: regexp.MustCompile("^(up|head)$")}, []string{"head", "up"}},
		{"exclude", Layers{Exclude: regexp.MustCompile("_in$")}, []string{"block_out"}},
		{"all but", Layers{All: true, Exclude: regexp.MustCompile("block|attention")}, []string{"head", "up", "tail"}},
		{"nothing left", Layers{Include: regexp.MustCompile("nowhere")}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			convs, err := Select(parseInferred(t, residual).Graph, tc.layers)
			if (err != nil) != (tc.want == nil) {
				t.Fatal(err)
			}
			if got := labels(convs); !slices.Equal(got, tc.want) {
				t.Errorf("selected %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSelectPlainChain(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 17]>
		vdsr (float[n,1,h,w] input, float[8,1,3,3] w0, float[8,8,3,3] w1, float[8,8,3,3] w2, float[1,8,3,3] w3)
		=> (float[n,1,h,w] output)
		{
		  [first] a = Conv <pads = [1, 1, 1, 1]> (input, w0)
		  [second] b = Conv <pads = [1, 1, 1, 1]> (a, w1)
		  [third] c = Conv <pads = [1, 1, 1, 1]> (b, w2)
		  [last] d = Conv <pads = [1, 1, 1, 1]> (c, w3)
		  output = Add (input, d)
		}`)
	convs, err := Select(m.Graph, Layers{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := labels(convs), []string{"second", "third"}; !slices.Equal(got, want) {
		t.Errorf("selected %q, want %q", got, want)
	}
}

// What the body rule leaves float in the real networks: the first convolution,
// the upsampler and the last ones, attention behind global pooling, the mean shift in front.
func TestSelectRealNetworks(t *testing.T) {
	float := map[string]int{
		"EDSR_x2": 3, "SRResNet_x4": 4, "RDN_x2": 5, "CARN_x2": 5, "CARN_M_x4": 6, "WDSRb8_x2": 3, "RLFN_x2": 2,
		"RFDN_x4": 2, "FMEN_x4": 2, "IMDN_x4": 14, "PAN_x4": 8, "VDSR_Y_x1": 2, "LapSRN_Y_x2": 4, "ESRGAN_slim_x2": 5,
	}
	for _, net := range testenv.Models(t) {
		m, err := onnx.Load(net.Path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Simplify(context.Background(), m); err != nil {
			t.Fatal(err)
		}
		convs, err := Select(m.Graph, Layers{})
		if err != nil {
			t.Fatal(err)
		}
		all, err := Select(m.Graph, Layers{All: true})
		if err != nil {
			t.Fatal(err)
		}
		if left := len(all) - len(convs); left != float[net.Name] {
			t.Errorf("%s: %d of %d convolutions stay float, want %d", net.Name, left, len(all), float[net.Name])
		}
	}
}

func labels(nodes []*onnx.Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Label())
	}
	return names
}
