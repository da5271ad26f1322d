package inspect

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/models"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

func TestFloatNetwork(t *testing.T) {
	m, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	s := Model(context.Background(), m)
	body := 0
	for _, c := range s.Convolutions {
		if c.Quantized() {
			t.Errorf("%s is quantized", c.Name)
		}
		if c.Body {
			body++
		}
	}
	// EDSR: head, 8 blocks of 2, body_end, up, tail.
	if len(s.Convolutions) != 20 || body != 17 || s.Quantized() {
		t.Errorf("%d convolutions, %d of the body", len(s.Convolutions), body)
	}
	if !slices.Equal(s.Convolutions[1].Weights, []int64{32, 32, 3, 3}) {
		t.Errorf("weights %v", s.Convolutions[1].Weights)
	}
	if !slices.Contains(s.Operators, Count{"Relu", 8}) || s.Operators[0] != (Count{"Conv", 20}) {
		t.Errorf("operators %v", s.Operators)
	}
}

// The bits that inspect finds in the graph are those that were asked for, in
// whatever type the opset stores them.
func TestQuantizedNetwork(t *testing.T) {
	m, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, opset := range []int64{0, 17} {
		for _, bits := range []int{1, 2, 3, 4, 5, 8} {
			t.Run(fmt.Sprintf("%d bits, opset %d", bits, opset), func(t *testing.T) {
				q, err := converter.Quantize(context.Background(), m, nil, converter.QuantizeOptions{
					Settings: passes.Settings{WeightBits: bits, ActivationBits: bits, Rule: passes.Paper},
					Opset:    opset, Input: calib.Input{Range: 1},
				})
				if err != nil {
					t.Fatal(err)
				}
				data, err := q.Model.Encode()
				if err != nil {
					t.Fatal(err)
				}
				again, err := onnx.Decode(data)
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for _, c := range Model(context.Background(), again).Convolutions {
					if !c.Quantized() {
						continue
					}
					n++
					if c.WeightBits != bits || c.ActivationBits != bits || len(c.Steps) != 1 {
						t.Errorf("%s: weights %d bits, activations %d bits, steps %v", c.Name, c.WeightBits, c.ActivationBits, c.Steps)
					}
				}
				if n != q.Done.Convolutions {
					t.Errorf("%d quantized convolutions, want %d", n, q.Done.Convolutions)
				}
			})
		}
	}
}

// QuantizeLinear and DequantizeLinear are what other tools write.
func TestStandardForm(t *testing.T) {
	m, err := onnx.Parse(`<ir_version: 10, opset_import: ["" : 21]>
g (float[1,3,8,8] x) => (float[1,1,8,8] y)
<float s = {0.1}, uint8 z = {128}, int4[1,3,1,1] w = {1,-2,3}>
{
  q = QuantizeLinear (x, s, z)
  d = DequantizeLinear (q, s, z)
  wd = DequantizeLinear (w, s)
  y = Conv (d, wd)
}`)
	if err != nil {
		t.Fatal(err)
	}
	c := Model(context.Background(), m).Convolutions
	if len(c) != 1 || c[0].WeightBits != 4 || c[0].ActivationBits != 8 {
		t.Errorf("%+v", c)
	}
}
