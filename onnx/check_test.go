package onnx

import (
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
)

func TestCheckNetworks(t *testing.T) {
	for _, nn := range testenv.Models(t) {
		m, err := Load(nn.Path)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Check(); err != nil {
			t.Errorf("%s: %v", nn.Name, err)
		}
	}
	m := mustParse(t, nested)
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	if err := Inline(m); err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Errorf("inlined: %v", err)
	}
}

func TestCheckProblems(t *testing.T) {
	const header = `<ir_version: 10, opset_import: ["" : 21]> `
	const function = `<domain: "f", opset_import: ["" : 21]> `
	const calls = `<ir_version: 10, opset_import: ["" : 21, "f" : 1]> g (float x) => (float y) { y = f.F (x) } `
	for text, want := range map[string]string{
		`<opset_import: ["" : 21]> g (float x) => (float y) { y = Relu (x) }`:                                                      "has no IR version: set ir_version to 10",
		`<ir_version: 99, opset_import: ["" : 21]> g (float x) => (float y) { y = Relu (x) }`:                                      "IR version 99 is newer than the 14 known here",
		`<ir_version: 10> g (float x) => (float y) { y = Relu (x) }`:                                                               "imports no operator set",
		`<ir_version: 10, opset_import: ["" : 21, "ai.onnx" : 20]> g (float x) => (float y) { y = Relu (x) }`:                      `imports domain "ai.onnx" twice, versions 21 and 20`,
		`<ir_version: 10, opset_import: ["" : 0]> g (float x) => (float y) { y = Relu (x) }`:                                       "versions start at 1",
		`<ir_version: 3, opset_import: ["" : 8]> g (float x) => (float y) <float w = {1}> { y = Add (x, w) }`:                      `initializer "w" is no graph input, which IR version 3 asks for`,
		`<ir_version: 7, opset_import: ["" : 8, "f" : 1]> g (float x) => (float y) { y = f.F (x) }` + function + `F (x) => (x) {}`: "IR version 7 has no functions",
		header + `g (float x) => () { y = Relu (x) }`:                                                                              `graph "g" has no outputs`,
		header + `g (x) => (float y) { y = Relu (x) }`:                                                                             `graph input "x" has no type`,
		header + `g (float x) => (y) { y = Relu (x) }`:                                                                             `graph output "y" has no type`,
		header + `g (float x) => (float y) { y = daq.Q (x) }`:                                                                      `node daq.Q "y" is of domain "daq", which is not imported`,
		header + `g (float x) => (float y) { y = Relu (z) z = Relu (y) }`:                                                          `has a cycle through node Relu "y"`,
		header + `g (float x) => (float y) { y = Relu (z) z = Relu (x) }`:                                                          `node Relu "y" stands in front of node Relu "z"`,
		header + `g (float x) => (float y) <float w = ["location": "w"]> { y = Add (x, w) }`:                                       `initializer "w" are in another file that was not read`,
		header + `g (float x) => (float y) { y = Relu <a = 1, a = 2> (x) }`:                                                        `has the attribute "a" twice`,
		header + `g (float x) => (float y) { y = Relu <a: int = @b> (x) }`:                                                         `refers to "b" of a call`,
		header + `g (float x) => (float y) { y = If (x) <b = s () => (y2) { x = Neg (y) y2 = Neg (x) }> }`:                         `gives the name "x", which a graph around has already`,
		header + `g (float x) => (float y) { y = If (x) <b = s () => (y2) { y2 = Neg (y) }> }`:                                     `has a cycle through node If "y"`,
		calls + function + `F (a, b) => () { c = Relu (a) }`:                                                                       `node f.F "y" wants 1 outputs of function f.F, which has 0`,
		calls + function + `F () => (b) { b = Constant <value_float = 1.0> () }`:                                                   `gives 1 inputs to function f.F, which has 0`,
		calls + function + `F (a) => (b) { b = f.G (a) }`:                                                                          `function f.F: node f.G "b" is of domain "f", which is not imported`,
		calls + function + `F (a) => (b) { b = Relu <a: int = @n> (a) }`:                                                           `refers to "n", which is no attribute of the function`,
		calls + function + `F (a) => (a) {}` + function + `F (a) => (a) {}`:                                                        "function f.F is defined twice",
		calls + `<domain: "f", opset_import: ["" : 21, "f" : 1]> F (a) => (b) { b = f.F (a) }`:                                     "function f.F calls itself",
	} {
		err := mustParse(t, text).Check()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
}

// What a pass can do wrong.
func TestCheckBrokenLinks(t *testing.T) {
	const text = `<ir_version: 10, opset_import: ["" : 21]> g (float x) => (float y) <float[2] w = {1, 2}> {
		a = Relu (x) b = Add (a, w) y = If (b) <then_branch = s () => (p2) { p = Neg (a) p2 = Neg (p) }> }`
	for name, c := range map[string]struct {
		spoil func(*Graph)
		want  string
	}{
		"shape":    {func(g *Graph) { g.Value("w").Const.Shape[0] = 3 }, `tensor "w": 8 bytes of data, float[3] needs 12`},
		"negative": {func(g *Graph) { g.Value("w").Const.Shape[0] = -2 }, "negative dimension"},
		"type":     {func(g *Graph) { g.Value("w").Const.Type = 77 }, "unknown element type 77"},
		"scope": {func(g *Graph) { g.Nodes[1].SetInput(0, g.Nodes[2].Subgraphs()[0].Value("p")) },
			`input 0 of node Add "b" is "p" of a graph that cannot be seen from there`},
		"removed":  {func(g *Graph) { n := g.Nodes[0]; g.Nodes = g.Nodes[1:]; _ = n }, `reads from node Relu "a", which is not in the graph`},
		"output":   {func(g *Graph) { g.Outputs[0] = NewGraph("other").AddInput("q", Type{}) }, `an output of graph "g" is "q" of a graph that cannot be seen`},
		"name":     {func(g *Graph) { g.Value("a").Name = "b" }, `which was removed or renamed`},
		"no name":  {func(g *Graph) { g.Value("a").Name = "" }, `output without a name`},
		"operator": {func(g *Graph) { g.Nodes[0].Op = "" }, `node "a" has no operator`},
		"order":    {func(g *Graph) { g.Nodes[0], g.Nodes[1] = g.Nodes[1], g.Nodes[0] }, "sort the nodes"},
		"producer": {func(g *Graph) { g.Value("w").Producer = g.Nodes[0] }, `the name "w" is that of an initializer and of an output`},
		"twice":    {func(g *Graph) { g.Nodes[1].Outputs[0] = g.Value("a") }, `value "a" is an output of node Add "a" and belongs to another`},
	} {
		m := mustParse(t, text)
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		c.spoil(m.Graph)
		if err := m.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
