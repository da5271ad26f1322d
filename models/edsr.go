package models

import (
	"fmt"

	"github.com/daq-sr/daq/onnx"
)

// EDSR is the network of Lim et al., "Enhanced Deep Residual Networks for
// Single Image Super-Resolution", CVPR Workshops 2017: residual blocks without
// normalization between a first convolution and a pixel-shuffle upsampler.
//
// Parameters: head; body.I.conv1, body.I.conv2 for each block; body_end; up
// (up1, up2, ... at scale 4 and 8); tail; each with .weight and .bias.
type EDSR struct {
	Scale         int     // 2, 3, 4 or 8
	Blocks        int     // residual blocks: 16, or 32 in the large network
	Channels      int     // features: 64, or 256 in the large network
	ResScale      float32 // factor of each residual branch; 0 is 1: 0.1 in the large network
	InputChannels int     // 0 is 3

	// Where the network works on other values than its input x has, it
	// computes on (x - Mean) * Range and undoes that at the end.
	Mean  []float32 // of each input channel; empty is 0
	Range float32   // 0 is 1; 255 for a network trained on 0..255 that is to read 0..1
}

// Build returns the network with the given weights.
func (c EDSR) Build(weights Weights) (*onnx.Model, error) {
	channels := orDefault(c.InputChannels, 3)
	err := checkConfig("EDSR", c.Scale, setting{"blocks", c.Blocks, 1, 1024},
		setting{"channels", c.Channels, 1, 4096}, setting{"input channels", channels, 1, 64})
	if err != nil {
		return nil, err
	}
	if len(c.Mean) != 0 && len(c.Mean) != channels {
		return nil, fmt.Errorf("EDSR: %d means for %d input channels", len(c.Mean), channels)
	}
	for _, v := range append([]float32{c.ResScale, c.Range}, c.Mean...) {
		if v-v != 0 {
			return nil, fmt.Errorf("EDSR: residual scale %v, range %v, means %v must be finite", c.ResScale, c.Range, c.Mean)
		}
	}
	b := newBuilder("EDSR", weights)
	x := b.input(channels)
	var mean, scale *onnx.Value
	if len(c.Mean) > 0 {
		mean = b.constant("mean", onnx.Floats([]int64{1, int64(channels), 1, 1}, c.Mean...))
		x = b.node("Sub", "", []*onnx.Value{x, mean})
	}
	if c.Range != 0 && c.Range != 1 {
		scale = b.constant("range", onnx.Scalar(c.Range))
		x = b.node("Mul", "", []*onnx.Value{x, scale})
	}
	head := b.conv("head", x, channels, c.Channels, 3)
	x = head
	for i := range c.Blocks {
		x = c.block(b, fmt.Sprintf("body.%d", i), x)
	}
	x = b.conv("body_end", x, c.Channels, c.Channels, 3)
	x = b.add("", head, x)
	x = b.upsample(x, c.Channels, c.Scale, nil)
	x = b.conv("tail", x, c.Channels, channels, 3)
	if scale != nil {
		x = b.node("Div", "", []*onnx.Value{x, scale})
	}
	if mean != nil {
		x = b.node("Add", "", []*onnx.Value{x, mean})
	}
	return b.finish(x, channels, c.Scale)
}

func (c EDSR) block(b *builder, module string, x *onnx.Value) *onnx.Value {
	y := b.conv(module+".conv1", x, c.Channels, c.Channels, 3)
	y = b.relu(module+".relu", y)
	y = b.conv(module+".conv2", y, c.Channels, c.Channels, 3)
	if c.ResScale != 0 && c.ResScale != 1 {
		y = b.node("Mul", module, []*onnx.Value{y, b.constant("res_scale", onnx.Scalar(c.ResScale))})
	}
	return b.add(module, x, y)
}
