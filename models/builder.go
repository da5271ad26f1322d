package models

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/daq-sr/daq/onnx"
)

// builder adds layers to a graph. It keeps the first error and does nothing
// after it, so that a network reads as a sequence of layers.
type builder struct {
	graph   *onnx.Graph
	weights Weights
	used    map[string]bool
	bytes   int64 // of all parameters so far
	err     error
}

func newBuilder(network string, weights Weights) *builder {
	return &builder{graph: onnx.NewGraph(network), weights: weights, used: map[string]bool{}}
}

// input declares the image.
func (b *builder) input(channels int) *onnx.Value {
	shape := onnx.Shape{onnx.Symbol("n"), onnx.Known(int64(channels)), onnx.Symbol("h"), onnx.Symbol("w")}
	return b.graph.AddInput("input", onnx.Type{Elem: onnx.Float, Shape: shape})
}

// finish makes y the output of the network and returns the model.
func (b *builder) finish(y *onnx.Value, channels, scale int) (*onnx.Model, error) {
	if b.err == nil {
		b.err = b.unused()
	}
	if b.err != nil {
		return nil, fmt.Errorf("%s: %w", b.graph.Name, b.err)
	}
	times := func(symbol string) onnx.Dim { return onnx.Symbol(fmt.Sprintf("%d*%s", scale, symbol)) }
	y.Rename("output")
	y.Type = onnx.Type{Elem: onnx.Float, Shape: onnx.Shape{
		onnx.Symbol("n"), onnx.Known(int64(channels)), times("h"), times("w"),
	}}
	b.graph.AddOutput(y)
	m := onnx.NewModel(b.graph, Opset)
	m.Producer = "daq"
	return m, nil
}

// unused refuses a state dictionary of which a part is left over: the
// configuration then describes a smaller network than the one trained.
func (b *builder) unused() error {
	dict, ok := b.weights.(StateDict)
	if !ok {
		return nil
	}
	var left []string
	for name := range dict {
		// PyTorch's BatchNorm counts its batches in the dictionary.
		if !b.used[name] && !strings.HasSuffix(name, "num_batches_tracked") {
			left = append(left, name)
		}
	}
	if len(left) == 0 {
		return nil
	}
	slices.Sort(left)
	return fmt.Errorf("%d parameters of the state dictionary have no place, the first is %q: it is of another configuration", len(left), left[0])
}

// parameter adds an initializer from the weights, in the shape that the
// operator wants where that is not the shape of the state dictionary.
func (b *builder) parameter(name string, start float32, shape []int64, reshaped ...int64) *onnx.Value {
	if b.err != nil {
		return nil
	}
	n, err := onnx.Elements(shape)
	if b.bytes += onnx.Float.Bytes(n); err != nil || b.bytes > maxBytes {
		b.err = fmt.Errorf("parameter %q: the network is larger than %d bytes, more than an ONNX file holds", name, maxBytes)
		return nil
	}
	t, err := b.weights.parameter(parameter{name, shape, start})
	if err != nil {
		b.err = err
		return nil
	}
	b.used[name] = true
	if reshaped != nil {
		t.Shape = reshaped
	}
	return b.graph.AddInitializer(name, t)
}

// constant adds, or finds, an initializer that is no parameter.
func (b *builder) constant(name string, t *onnx.Tensor) *onnx.Value {
	if v := b.graph.Value(name); v != nil {
		return v
	}
	return b.graph.AddInitializer(name, t)
}

// node applies an operator as the given module ("" is the network itself).
func (b *builder) node(op, module string, inputs []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	if b.err != nil {
		return nil
	}
	// A module that applies an operator again: Add, Add_1, Add_2, ...
	base := modulePath(module) + "/" + op
	name := base
	for i := 1; b.graph.Value(name+"_output_0") != nil; i++ {
		name = fmt.Sprintf("%s_%d", base, i)
	}
	n := b.graph.NewNode(op, inputs, []string{name + "_output_0"}, attrs...)
	n.Name = name
	b.graph.Append(n)
	return n.Outputs[0]
}

// modulePath writes the name of a module as the exporter does, where a child
// of a sequence carries the name of the sequence: "body.0.conv1" is
// "/body/body.0/conv1".
func modulePath(module string) string {
	var path strings.Builder
	parent := ""
	for part := range strings.SplitSeq(module, ".") {
		switch {
		case part == "":
			continue
		case parent != "" && strings.Trim(part, "0123456789") == "":
			parent += "." + part
		default:
			parent = part
		}
		path.WriteString("/" + parent)
	}
	return path.String()
}

// conv is a convolution of odd kernel size that keeps height and width.
func (b *builder) conv(module string, x *onnx.Value, in, out, kernel int) *onnx.Value {
	weight := b.kernel(module, in, out, kernel)
	bias := b.parameter(module+".bias", 0, []int64{int64(out)})
	return b.convolve(module, kernel, x, weight, bias)
}

// convBN is a convolution without bias and the batch normalization behind it.
func (b *builder) convBN(module, norm string, x *onnx.Value, channels int) *onnx.Value {
	y := b.convolve(module, 3, x, b.kernel(module, channels, channels, 3))
	shape := []int64{int64(channels)}
	return b.node("BatchNormalization", norm, []*onnx.Value{y,
		b.parameter(norm+".weight", 1, shape),
		b.parameter(norm+".bias", 0, shape),
		b.parameter(norm+".running_mean", 0, shape),
		b.parameter(norm+".running_var", 1, shape),
	}, onnx.Attr("epsilon", 1e-5))
}

func (b *builder) kernel(module string, in, out, kernel int) *onnx.Value {
	return b.parameter(module+".weight", 0, []int64{int64(out), int64(in), int64(kernel), int64(kernel)})
}

func (b *builder) convolve(module string, kernel int, inputs ...*onnx.Value) *onnx.Value {
	k, p := int64(kernel), int64(kernel/2)
	return b.node("Conv", module, inputs,
		onnx.Attr("dilations", []int64{1, 1}), onnx.Attr("group", 1), onnx.Attr("kernel_shape", []int64{k, k}),
		onnx.Attr("pads", []int64{p, p, p, p}), onnx.Attr("strides", []int64{1, 1}))
}

func (b *builder) relu(module string, x *onnx.Value) *onnx.Value {
	return b.node("Relu", module, []*onnx.Value{x})
}

// prelu has one slope for each channel, or a single one for all.
func (b *builder) prelu(module string, x *onnx.Value, slopes int) *onnx.Value {
	n := int64(slopes)
	return b.node("PRelu", module, []*onnx.Value{x, b.parameter(module+".weight", 0.25, []int64{n}, n, 1, 1)})
}

func (b *builder) add(module string, x, y *onnx.Value) *onnx.Value {
	return b.node("Add", module, []*onnx.Value{x, y})
}

func (b *builder) concat(module string, xs ...*onnx.Value) *onnx.Value {
	return b.node("Concat", module, xs, onnx.Attr("axis", 1))
}

// upsample is the sub-pixel upsampler of EDSR: powers of two in stages of 2,
// 3 in one stage, each a convolution and a pixel shuffle (Shi et al., CVPR
// 2016), the modules "up" and "ps" or, of several stages, "up1", "ps1", ...
// The function act, if there is one, follows each stage.
func (b *builder) upsample(x *onnx.Value, channels, scale int, act func(module string, x *onnx.Value) *onnx.Value) *onnx.Value {
	stages, factor := int(math.Log2(float64(scale))), 2
	if scale == 3 {
		stages, factor = 1, 3
	}
	for i := range stages {
		suffix := ""
		if stages > 1 {
			suffix = fmt.Sprint(i + 1)
		}
		x = b.conv("up"+suffix, x, channels, channels*factor*factor, 3)
		x = b.node("DepthToSpace", "ps"+suffix, []*onnx.Value{x}, onnx.Attr("blocksize", factor), onnx.Attr("mode", "CRD"))
		if act != nil {
			x = act("act"+suffix, x)
		}
	}
	return x
}
