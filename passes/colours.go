package passes

import "github.com/daq-sr/daq/onnx"

// Colours is how the mean of every channel of an output [N,C,H,W] is corrected by the
// means of the output and of the input [N,C,h,w] of each picture: by Gain times both, plus Bias.
type Colours struct {
	Gain []float32 // [C,2C], the means of the output first
	Bias []float32 // [C]
}

// At is what is added to channel k of an output of these means, made of an input of those.
func (c *Colours) At(output, input []float64, k int) float64 {
	sum, row := float64(c.Bias[k]), c.Gain[2*k*len(input):]
	for j := range input {
		sum += float64(row[j])*output[j] + float64(row[len(input)+j])*input[j]
	}
	return sum
}

// ColoursOf returns the picture that a network reads and the output that HoldColours
// corrects, which is in front of a last Clip; nil where it takes other things than one
// float picture and gives another.
func ColoursOf(g *onnx.Graph) (x, y *onnx.Value) {
	for _, in := range g.Inputs {
		if in.Const == nil {
			if x != nil {
				return nil, nil
			}
			x = in
		}
	}
	if x == nil || len(g.Outputs) != 1 {
		return nil, nil
	}
	y = g.Outputs[0]
	if y.Producer != nil && y.Producer.Op == "Clip" && len(y.Uses()) == 0 {
		y = y.Producer.Inputs[0]
	}
	out := g.Outputs[0] // its type is known, and that of y is the same
	for _, v := range []*onnx.Value{x, out} {
		if v.Type.Elem != onnx.Float || len(v.Type.Shape) != 4 {
			return nil, nil
		}
	}
	if c := channelsOf(x); c < 1 || c != channelsOf(out) || y.Producer == nil {
		return nil, nil
	}
	return x, y
}

// HoldColours corrects the output that ColoursOf names, in standard operators.
func HoldColours(g *onnx.Graph, c Colours) error {
	x, y := ColoursOf(g)
	name, channels := y.Name, int64(len(c.Bias))
	corrected := g.NewNode("Add", []*onnx.Value{nil, nil}, []string{name + "_corrected"})
	y.ReplaceUses(corrected.Outputs[0])
	corrected.Outputs[0].Type = y.Type
	made := g.NewNode("GlobalAveragePool", []*onnx.Value{y}, []string{name + "_mean"})
	read := g.NewNode("GlobalAveragePool", []*onnx.Value{x}, []string{x.Name + "_mean"})
	means := g.NewNode("Concat", []*onnx.Value{made.Outputs[0], read.Outputs[0]}, []string{name + "_means"}, onnx.Attr("axis", int64(1)))
	correction := g.NewNode("Conv", []*onnx.Value{
		means.Outputs[0],
		g.AddInitializer(name+"_mean_gain", onnx.Floats([]int64{channels, 2 * channels, 1, 1}, c.Gain...)),
		g.AddInitializer(name+"_mean_bias", onnx.Floats([]int64{channels}, c.Bias...)),
	}, []string{name + "_correction"})
	corrected.SetInput(0, y)
	corrected.SetInput(1, correction.Outputs[0])
	g.Append(made, read, means, correction, corrected)
	return g.Sort()
}
