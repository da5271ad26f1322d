package models

import (
	"fmt"

	"github.com/daq-sr/daq/onnx"
)

// SRResNet is the generator of Ledig et al., "Photo-Realistic Single Image
// Super-Resolution Using a Generative Adversarial Network", CVPR 2017:
// residual blocks with batch normalization and PReLU between 9x9 convolutions.
//
// Parameters: head, act; body.I.{conv1,bn1,act,conv2,bn2} for each block;
// body_end, bn_end; up1, act1, up2, act2, ... (up, act_up at scale 2 and 3);
// tail. Convolutions before a normalization have no bias; normalizations have
// weight, bias, running_mean and running_var; activations a weight.
type SRResNet struct {
	Scale         int  // 2, 3, 4 or 8
	Blocks        int  // residual blocks: 16 in the paper
	Channels      int  // features: 64 in the paper
	InputChannels int  // 0 is 3
	SharedSlope   bool // each PReLU has one slope for all channels (the default of PyTorch)
	Signed        bool // trained to give -1..1 (section 3.2 of the paper): the output is brought to 0..1
}

// Build returns the network with the given weights.
func (c SRResNet) Build(weights Weights) (*onnx.Model, error) {
	channels := orDefault(c.InputChannels, 3)
	err := checkConfig("SRResNet", c.Scale, setting{"blocks", c.Blocks, 1, 1024},
		setting{"channels", c.Channels, 1, 4096}, setting{"input channels", channels, 1, 64})
	if err != nil {
		return nil, err
	}
	b := newBuilder("SRResNet", weights)
	x := b.input(channels)
	x = b.conv("head", x, channels, c.Channels, 9)
	head := c.act(b, "act", x)
	x = head
	for i := range c.Blocks {
		x = c.block(b, fmt.Sprintf("body.%d", i), x)
	}
	x = b.convBN("body_end", "bn_end", x, c.Channels)
	x = b.add("", head, x)
	x = b.upsample(x, c.Channels, c.Scale, func(module string, x *onnx.Value) *onnx.Value {
		if module == "act" { // a single stage; "act" is the one of the head
			module = "act_up"
		}
		return c.act(b, module, x)
	})
	x = b.conv("tail", x, c.Channels, channels, 9)
	if c.Signed {
		x = b.add("", x, b.constant("one", onnx.Scalar(1)))
		x = b.node("Mul", "", []*onnx.Value{x, b.constant("half", onnx.Scalar(0.5))})
	}
	return b.finish(x, channels, c.Scale)
}

func (c SRResNet) act(b *builder, module string, x *onnx.Value) *onnx.Value {
	if c.SharedSlope {
		return b.prelu(module, x, 1)
	}
	return b.prelu(module, x, c.Channels)
}

func (c SRResNet) block(b *builder, module string, x *onnx.Value) *onnx.Value {
	y := b.convBN(module+".conv1", module+".bn1", x, c.Channels)
	y = c.act(b, module+".act", y)
	y = b.convBN(module+".conv2", module+".bn2", y, c.Channels)
	return b.add(module, x, y)
}
