package passes

import (
	"fmt"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Opset versions of the default domain that Upgrade knows.
const (
	oldestOpset = 7
	newestOpset = 25
)

// Upgrade brings a model, in place, to a higher opset version of the default
// domain (ONNX docs/Changelog.md), functions and subgraphs included, and raises
// the IR version to one that goes with it. A model that is there already stays
// as it is. An operator whose older definition cannot be said in the newer
// version is an error that names the node; the model must then not be used.
func Upgrade(m *onnx.Model, target int64) error {
	if target > newestOpset {
		return fmt.Errorf("opset %d is not known, the newest is %d", target, newestOpset)
	}
	if from := m.Opset(""); from != 0 && from < target {
		if err := onnx.Infer(m); err != nil {
			return err
		}
		u := &upgrade{from: from, target: target}
		if err := eachGraph(m.Graph, u.graph); err != nil {
			return err
		}
		m.SetOpset("", target)
	}
	for _, f := range m.Functions {
		i := slices.IndexFunc(f.Opsets, func(o onnx.Opset) bool { return o.Domain == "" || o.Domain == "ai.onnx" })
		if i < 0 || f.Opsets[i].Version >= target {
			continue
		}
		u := &upgrade{from: f.Opsets[i].Version, target: target, function: true}
		if err := eachGraph(f.Body, u.graph); err != nil {
			return fmt.Errorf("function %s.%s: %w", f.Domain, f.Name, err)
		}
		f.Opsets[i].Version = target
	}
	return nil
}

// upgrade rewrites the nodes of one graph, and those inside.
type upgrade struct {
	from, target int64
	function     bool // function bodies hold no initializers
}

// definition is a version of an operator that is no mere extension of the one
// before, and how a node of that gets there.
type definition struct {
	opset   int64
	convert func(u *upgrade, n *onnx.Node) error
}

// definitions are in ascending order for each operator. Versions that only add
// types, attributes with the old meaning as default, or optional inputs are not
// listed.
var definitions = map[string][]definition{
	"BatchNormalization": {{9, dropSpatial}, {14, oneOutput}},
	"Clip":               {{11, attrsToInputs(scalarInput("min", 1), scalarInput("max", 2))}},
	"DFT":                {{20, refuse("its axis became an input")}},
	"Dropout":            {{10, noMask}, {12, attrsToInputs(scalarInput("ratio", 1))}},
	"GridSample":         {{20, renameModes}},
	"GroupNormalization": {{21, scalePerChannel}},
	"Hardmax":            {{13, oneAxis}},
	"LogSoftmax":         {{13, oneAxis}},
	"Pad":                {{11, attrsToInputs(intsInput("pads", 1), scalarInput("value", 2))}},
	"ReduceL1":           {{18, axesToInput}},
	"ReduceL2":           {{18, axesToInput}},
	"ReduceLogSum":       {{18, axesToInput}},
	"ReduceLogSumExp":    {{18, axesToInput}},
	"ReduceMax":          {{18, axesToInput}},
	"ReduceMean":         {{18, axesToInput}},
	"ReduceMin":          {{18, axesToInput}},
	"ReduceProd":         {{18, axesToInput}},
	"ReduceSum":          {{13, axesToInput}},
	"ReduceSumSquare":    {{18, axesToInput}},
	"Resize":             {{11, resizeAddRegion}, {13, resizeCheckMode}},
	"RoiAlign":           {{16, keepRoiPixels}},
	"Scan":               {{9, refuse("its batch dimension went away")}},
	"Scatter":            {{11, rename("ScatterElements")}},
	"Slice":              {{10, attrsToInputs(intsInput("starts", 1), intsInput("ends", 2), intsInput("axes", 3))}},
	"Softmax":            {{13, oneAxis}},
	"Split":              {{13, attrsToInputs(intsInput("split", 1))}, {18, countOutputs}},
	"Squeeze":            {{13, axesToInput}},
	"TopK":               {{10, attrsToInputs(intInput("k", 1))}},
	"Unsqueeze":          {{13, axesToInput}},
	"Upsample":           {{9, attrsToInputs(floatsInput("scales", 1))}, {10, rename("Resize")}},
}

func (u *upgrade) graph(g *onnx.Graph) error {
	for _, n := range slices.Clone(g.Nodes) {
		if !n.Is(n.Op) {
			continue // of another domain
		}
		if u.from < oldestOpset {
			return fmt.Errorf("opset %d is older than %d: bring the model there with onnx.version_converter, or export it again", u.from, oldestOpset)
		}
		at := u.from
		for {
			next := nextDefinition(n.Op, at)
			if next == nil || next.opset > u.target {
				break
			}
			if err := next.convert(u, n); err != nil {
				return fmt.Errorf("node %s cannot be brought from opset %d to %d: %w", n, u.from, u.target, err)
			}
			at = next.opset
		}
	}
	return nil
}

func nextDefinition(op string, after int64) *definition {
	for i, d := range definitions[op] {
		if d.opset > after {
			return &definitions[op][i]
		}
	}
	return nil
}

// constant makes a constant that n can read.
func (u *upgrade) constant(n *onnx.Node, name string, t *onnx.Tensor) *onnx.Value {
	g := n.Graph()
	name = n.Label() + "_" + name
	if !u.function {
		return g.AddInitializer(name, t)
	}
	c := g.NewNode("Constant", nil, []string{name}, onnx.Attr("value", t))
	g.InsertBefore(n, c)
	return c.Outputs[0]
}

// before puts a node with one output in front of n and returns that output.
func before(n *onnx.Node, op string, inputs []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	g := n.Graph()
	made := g.NewNode(op, inputs, []string{n.Label() + "_" + op}, attrs...)
	g.InsertBefore(n, made)
	return made.Outputs[0]
}

// move is an attribute that became an input.
type move struct {
	attr   string
	input  int
	tensor func(a *onnx.Attribute) *onnx.Tensor // nil when the attribute is of another kind
}

func intsInput(attr string, input int) move {
	return move{attr, input, func(a *onnx.Attribute) *onnx.Tensor {
		if v, ok := a.Value.([]int64); ok {
			return onnx.Int64s(v...)
		}
		return nil
	}}
}

func intInput(attr string, input int) move {
	return move{attr, input, func(a *onnx.Attribute) *onnx.Tensor {
		if v, ok := a.Value.(int64); ok {
			return onnx.Int64s(v)
		}
		return nil
	}}
}

func floatsInput(attr string, input int) move {
	return move{attr, input, func(a *onnx.Attribute) *onnx.Tensor {
		if v, ok := a.Value.([]float32); ok {
			return onnx.Floats([]int64{int64(len(v))}, v...)
		}
		return nil
	}}
}

// scalarInput is a float attribute that became a scalar of the element type of
// the data.
func scalarInput(attr string, input int) move {
	return move{attr, input, func(a *onnx.Attribute) *onnx.Tensor {
		if v, ok := a.Value.(float32); ok {
			return onnx.Scalar(v)
		}
		return nil
	}}
}

func attrsToInputs(moves ...move) func(*upgrade, *onnx.Node) error {
	return func(u *upgrade, n *onnx.Node) error {
		for _, mv := range moves {
			a := n.Attr(mv.attr)
			if a == nil {
				continue
			}
			if a.Ref != "" {
				return fmt.Errorf("its attribute %s is a parameter of the function and would become an input: inline the function first", mv.attr)
			}
			t := mv.tensor(a)
			if t == nil {
				return fmt.Errorf("its attribute %s does not fit the type of its data", mv.attr)
			}
			v := u.constant(n, mv.attr, t)
			if elem := n.Inputs[0].Type.Elem; len(t.Shape) == 0 && elem != onnx.Float && !n.Is("Dropout") {
				if elem == onnx.Undefined {
					return fmt.Errorf("the type of its data is not known: inline its function first")
				}
				v = before(n, "Cast", []*onnx.Value{v}, onnx.Attr("to", int64(elem)))
			}
			n.RemoveAttr(mv.attr)
			n.SetInput(mv.input, v)
		}
		return nil
	}
}

func axesToInput(u *upgrade, n *onnx.Node) error {
	return attrsToInputs(intsInput("axes", 1))(u, n)
}

func refuse(why string) func(*upgrade, *onnx.Node) error {
	return func(*upgrade, *onnx.Node) error { return fmt.Errorf("%s: export the model again", why) }
}

func rename(op string) func(*upgrade, *onnx.Node) error {
	return func(_ *upgrade, n *onnx.Node) error {
		n.Op = op
		return nil
	}
}

func dropSpatial(_ *upgrade, n *onnx.Node) error {
	if n.Int("spatial", 1) == 0 {
		return fmt.Errorf("statistics for each pixel (spatial=0) went away: export the model again")
	}
	n.RemoveAttr("spatial")
	return nil
}

// oneOutput drops outputs of training that nothing reads.
func oneOutput(_ *upgrade, n *onnx.Node) error {
	for _, v := range n.Outputs[1:] {
		if v != nil && (len(v.Uses()) > 0 || v.IsOutput()) {
			return fmt.Errorf("its training output %q is read: export the model for inference", v.Name)
		}
	}
	if slices.ContainsFunc(n.Outputs[1:], func(v *onnx.Value) bool { return v != nil }) {
		return fmt.Errorf("it has training outputs: export the model for inference")
	}
	n.Outputs = n.Outputs[:1]
	return nil
}

// noMask: the mask of Dropout became boolean.
func noMask(_ *upgrade, n *onnx.Node) error {
	if len(n.Outputs) > 1 && n.Outputs[1] != nil {
		if mask := n.Outputs[1]; len(mask.Uses()) > 0 || mask.IsOutput() {
			return fmt.Errorf("its mask %q, which became boolean, is read: export the model for inference", mask.Name)
		}
		n.Outputs[1].Type = onnx.Type{}
	}
	return nil
}

func renameModes(_ *upgrade, n *onnx.Node) error {
	switch n.Str("mode", "bilinear") {
	case "bilinear":
		n.RemoveAttr("mode")
	case "bicubic":
		n.SetAttr("mode", "cubic")
	}
	return nil
}

// scalePerChannel repeats the scale and bias of each group for its channels.
func scalePerChannel(u *upgrade, n *onnx.Node) error {
	groups := n.Int("num_groups", 0)
	shape := n.Inputs[0].Type.Shape
	if len(shape) < 2 || !shape[1].IsKnown() || groups < 1 || shape[1].Value%groups != 0 {
		return fmt.Errorf("its scale became one for each channel, and the number of channels is not known")
	}
	for i := 1; i <= 2; i++ {
		column := before(n, "Reshape", []*onnx.Value{n.Inputs[i], u.constant(n, "column", onnx.Int64s(groups, 1))})
		table := before(n, "Expand", []*onnx.Value{column, u.constant(n, "table", onnx.Int64s(groups, shape[1].Value/groups))})
		n.SetInput(i, before(n, "Reshape", []*onnx.Value{table, u.constant(n, "channels", onnx.Int64s(-1))}))
	}
	return nil
}

// oneAxis: Softmax and its like worked on the input flattened to a matrix at
// axis; now they work along one axis.
func oneAxis(_ *upgrade, n *onnx.Node) error {
	axis := n.Int("axis", 1)
	if a := n.Attr("axis"); a != nil && a.Ref != "" {
		return fmt.Errorf("its attribute axis is a parameter of the function: inline the function first")
	}
	x := n.Inputs[0]
	if rank := int64(len(x.Type.Shape)); x.Type.Shape != nil && (axis == rank-1 || axis == -1) {
		n.SetAttr("axis", int64(-1))
		return nil
	}
	flat := before(n, "Flatten", []*onnx.Value{x}, onnx.Attr("axis", axis))
	rows := before(n, n.Op, []*onnx.Value{flat}, onnx.Attr("axis", -1))
	shape := before(n, "Shape", []*onnx.Value{x})
	n.Op, n.Attrs = "Reshape", nil
	n.SetInput(0, rows)
	n.SetInput(1, shape)
	return nil
}

// keepRoiPixels: the default of RoiAlign became half_pixel.
func keepRoiPixels(_ *upgrade, n *onnx.Node) error {
	n.SetAttr("coordinate_transformation_mode", "output_half_pixel")
	return nil
}

// countOutputs: a Split into equal parts says into how many.
func countOutputs(_ *upgrade, n *onnx.Node) error {
	if n.Input(1) == nil && n.Attr("num_outputs") == nil {
		n.SetAttr("num_outputs", int64(len(n.Outputs)))
		n.Inputs = n.Inputs[:1]
	}
	return nil
}

// resizeAddRegion brings Resize of opset 10, (x, scales) with coordinates that
// keep the upper left corner, to (x, roi, scales).
func resizeAddRegion(u *upgrade, n *onnx.Node) error {
	scales := n.Input(1)
	n.SetInput(1, nil)
	n.SetInput(2, scales)
	n.SetAttr("coordinate_transformation_mode", "asymmetric")
	if n.Str("mode", "nearest") == "nearest" {
		n.SetAttr("nearest_mode", "floor")
		if shrinks(scales) {
			n.SetAttr("nearest_mode", "ceil") // as ONNX Runtime does
		}
	}
	if u.target < 13 {
		// Optional from 13 on.
		n.SetInput(1, u.constant(n, "roi", &onnx.Tensor{Type: onnx.Float, Shape: []int64{0}}))
	}
	return nil
}

func shrinks(v *onnx.Value) bool {
	if v == nil || v.Const == nil {
		return false
	}
	scales, err := v.Const.Float32s()
	return err == nil && slices.ContainsFunc(scales, func(s float32) bool { return s < 1 })
}

func resizeCheckMode(_ *upgrade, n *onnx.Node) error {
	if n.Str("coordinate_transformation_mode", "") == "tf_half_pixel_for_nn" {
		return fmt.Errorf("its mode tf_half_pixel_for_nn went away: export the model with half_pixel")
	}
	return nil
}
