package models

import (
	"fmt"

	"github.com/daq-sr/daq/onnx"
)

// RDN is the network of Zhang et al., "Residual Dense Network for Image
// Super-Resolution", CVPR 2018: in each block every convolution reads the
// outputs of all before it.
//
// Parameters: sfe1, sfe2 (shallow features); rdb.I.convJ and rdb.I.lff (local
// feature fusion) for each block, J from 1; gff1, gff2 (global feature
// fusion); up or up1, up2, ...; tail; each with .weight and .bias.
type RDN struct {
	Scale         int // 2, 3, 4 or 8
	Blocks        int // residual dense blocks, D in the paper: 16 or 20
	Layers        int // convolutions in a block, C in the paper: 8 or 6
	Channels      int // features between blocks, G0 in the paper: 64
	Growth        int // features that a convolution adds, G in the paper: 64 or 32
	InputChannels int // 0 is 3

	// NearestUpsampler replaces the pixel shuffle by what a widely used Keras
	// version has: three convolutions (up1, 5x5 to 64; up2, to 32; up3), each
	// but the last with a ReLU, then nearest-neighbour upsampling.
	NearestUpsampler bool
}

// Build returns the network with the given weights.
func (c RDN) Build(weights Weights) (*onnx.Model, error) {
	channels := orDefault(c.InputChannels, 3)
	err := checkConfig("RDN", c.Scale, setting{"blocks", c.Blocks, 1, 256}, setting{"layers", c.Layers, 1, 64},
		setting{"channels", c.Channels, 1, 4096}, setting{"growth", c.Growth, 1, 1024}, setting{"input channels", channels, 1, 64})
	if err != nil {
		return nil, err
	}
	b := newBuilder("RDN", weights)
	x := b.input(channels)
	shallow := b.conv("sfe1", x, channels, c.Channels, 3)
	x = b.conv("sfe2", shallow, c.Channels, c.Channels, 3)
	var blocks []*onnx.Value
	for i := range c.Blocks {
		x = c.block(b, fmt.Sprintf("rdb.%d", i), x)
		blocks = append(blocks, x)
	}
	x = b.concat("", blocks...)
	x = b.conv("gff1", x, c.Blocks*c.Channels, c.Channels, 1)
	x = b.conv("gff2", x, c.Channels, c.Channels, 3)
	x = b.add("", x, shallow)
	if c.NearestUpsampler {
		x = c.nearest(b, x, channels)
	} else {
		x = b.upsample(x, c.Channels, c.Scale, nil)
		x = b.conv("tail", x, c.Channels, channels, 3)
	}
	return b.finish(x, channels, c.Scale)
}

func (c RDN) block(b *builder, module string, x *onnx.Value) *onnx.Value {
	dense, width := x, c.Channels
	for j := range c.Layers {
		y := b.conv(fmt.Sprintf("%s.conv%d", module, j+1), dense, width, c.Growth, 3)
		y = b.relu(fmt.Sprintf("%s.relu%d", module, j+1), y)
		dense = b.concat(module, dense, y)
		width += c.Growth
	}
	y := b.conv(module+".lff", dense, width, c.Channels, 1)
	return b.add(module, y, x)
}

// nearest gives scale*scale*channels maps, upsamples them all and lets the
// last convolution choose among them.
func (c RDN) nearest(b *builder, x *onnx.Value, channels int) *onnx.Value {
	maps := c.Scale * c.Scale * channels
	x = b.relu("relu1", b.conv("up1", x, c.Channels, 64, 5))
	x = b.relu("relu2", b.conv("up2", x, 64, 32, 3))
	x = b.conv("up3", x, 32, maps, 3)
	s := float32(c.Scale)
	scales := b.constant("scales", onnx.Floats([]int64{4}, 1, 1, s, s))
	x = b.node("Resize", "resize", []*onnx.Value{x, nil, scales},
		onnx.Attr("coordinate_transformation_mode", "asymmetric"), onnx.Attr("mode", "nearest"), onnx.Attr("nearest_mode", "floor"))
	return b.conv("tail", x, maps, channels, 3)
}
