package onnx

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
)

const nested = `<ir_version: 10, opset_import: ["" : 21, "f" : 1]>
main (float[2,N] x, bool c) => (float[2,N] y, float[2,N] z, float[2,N] same, float[2,N] w)
<float[1] two = {2}>
{
   [call] y, z = f.Twice <alpha = 0.25> (x, two)
   same, = f.Same (x)
   w = If (c) <then_branch = yes () => (float[2,N] w1) { w1, unused = f.Twice (y) }, else_branch = no () => (w2) { ["call/Scale"] w2 = Neg (z) }>
}
<domain: "f", opset_import: ["" : 21, "f" : 1]>
Twice <alpha: float = 0.5> (a, b) => (once, twice) {
   once = f.Scale <alpha: float = @alpha> (a, b)
   twice = f.Scale <alpha: float = @alpha, beta = 3.0> (once)
}
<domain: "f", opset_import: ["" : 21]>
Scale <alpha, beta> (v, factor) => (r) {
   t = LeakyRelu <alpha: float = @alpha> (v)
   zero = Constant <value = float {0}> ()
   s = ReduceSum <keepdims = 0> (t)
   positive = Greater (s, zero)
   r = If (positive) <then_branch = up () => (u) <float three = {3}> { u1 = Mul (t, three) u = Max (u1, factor) }, else_branch = down () => (d) { d = Elu <alpha: float = @beta> (t) }>
}
<domain: "f", opset_import: ["" : 21]>
Same (v) => (v, v) { unused = Neg (v) }
`

func TestInline(t *testing.T) {
	m := mustParse(t, nested)
	if err := Inline(m); err != nil {
		t.Fatal(err)
	}
	if len(m.Functions) != 0 || m.Opset("f") != 0 || m.Opset("") != 21 {
		t.Errorf("%d functions left, opsets %v", len(m.Functions), m.Opsets)
	}
	seen := map[string]bool{}
	_ = m.Graph.walk(func(n *Node) error {
		if n.Domain != "" {
			t.Errorf("%s is not inlined", n)
		}
		if n.Name != "" && seen[n.Name] {
			t.Errorf("two nodes named %q", n.Name)
		}
		seen[n.Name] = true
		for _, a := range n.Attrs {
			if a.Ref != "" {
				t.Errorf("%s: attribute %s still refers to %s", n, a.Name, a.Ref)
			}
		}
		return nil
	})
	for name, want := range map[string]float32{"call/Scale_1/LeakyRelu": 0.25, "w1/Scale/LeakyRelu": 0.5} {
		i := slices.IndexFunc(allNodes(m.Graph), func(n *Node) bool { return n.Name == name })
		if i < 0 {
			t.Fatalf("no node %q in\n%s", name, m.Text())
		}
		if got := allNodes(m.Graph)[i].Float("alpha", -1); got != want {
			t.Errorf("%s has alpha %v, want %v", name, got, want)
		}
	}
	// The result is a model like any other, and use lists are right.
	again, err := Decode(mustEncode(t, m))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range again.Graph.values {
		if got, want := len(m.Graph.Value(name).Uses()), len(v.Uses()); got != want {
			t.Errorf("%s has %d uses, want %d", name, got, want)
		}
	}
	if again.FullText() != m.FullText() {
		t.Error("the inlined model decodes to another one")
	}
}

func allNodes(g *Graph) (nodes []*Node) {
	_ = g.walk(func(n *Node) error { nodes = append(nodes, n); return nil })
	return nodes
}

// ONNX Runtime computes the same with and without functions.
func TestInlineRuntime(t *testing.T) {
	python, dir := testenv.Python(t), t.TempDir()
	// ONNX Runtime wants calls that give every attribute without default, no
	// function whose output is its input, and crashes on inputs left out that
	// a subgraph of the function reads.
	text, _, _ := strings.Cut(nested, "<domain: \"f\", opset_import: [\"\" : 21]>\nSame")
	m := mustParse(t, strings.NewReplacer("<alpha: float = @alpha> (a, b)", "<alpha: float = @alpha, beta = 1.0> (a, b)", "same, = f.Same", "same = Identity",
		"(once)", "(once, b)", "f.Twice (y)", "f.Twice (y, two)").Replace(text))
	before, after := filepath.Join(dir, "before.onnx"), filepath.Join(dir, "after.onnx")
	if err := os.WriteFile(before, mustEncode(t, m), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Inline(m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(after, mustEncode(t, m), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(python, "testdata/same.py", before, after).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, m.Text())
	}
}

func TestInlineErrors(t *testing.T) {
	const model = "<ir_version: 10, opset_import: [\"\" : 21, \"f\" : 1]> g (float[N] x) => (float[N] y) { y = f.F (x) }\n"
	const fn = "<domain: \"f\", opset_import: [\"\" : 21, \"f\" : 1]> "
	doubling := model + fn + "F (x) => (y) { y = f.F0 (x) }\n"
	for i := range 40 {
		doubling += fmt.Sprintf(fn+"F%d (x) => (y) { a = f.F%d (x) y = f.F%d (a) }\n", i, i+1, i+1)
	}
	doubling += fn + "F40 (x) => (y) { y = Relu (x) }"
	chain := model + fn + "F (x) => (y) { y = f.F0 (x) }\n"
	for i := range 2000 {
		chain += fmt.Sprintf(fn+"F%d (x) => (y) { y = f.F%d (x) }\n", i, i+1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"recursion": {model + fn + "F (x) => (y) { y = f.G (x) }" + fn + "G (x) => (y) { y = f.F (x) }",
			"f.F calls itself (f.F calls f.G calls f.F)"},
		"opset": {model + "<domain: \"f\", opset_import: [\"\" : 18]> F (x) => (y) { y = Relu (x) }",
			`function f.F is written for opset 18 of domain "ai.onnx", the model imports 21`},
		"import":  {model + "<domain: \"f\", opset_import: []> F (x) => (y) { y = Relu (x) }", `which the function does not import`},
		"twice":   {model + fn + "F (x) => (y) { y = Relu (x) }" + fn + "F (x) => (y) { y = Relu (x) }", "defined twice"},
		"inputs":  {model + fn + "F () => (y) { y = Relu () }", "gives 1 inputs to function f.F, which has 0"},
		"outputs": {model + fn + "F (x) => () { y = Relu (x) }", "wants 1 outputs of function f.F, which has 0"},
		"omitted": {model + fn + "F (x) => (y) { y = f.G () }" + fn + "G (x) => (x) {}", `output "y" is the input "x", which the call leaves out`},
		"omitted in subgraph": {model + fn + "F (x) => (y) { y = f.G () }" + fn + "G (x) => (y) { y = If () <then_branch = g () => (x) {}> }",
			"is an input that the call leaves out"},
		"doubling": {doubling, "more than 1048576 nodes"},
		"chain":    {chain, "more than 1000 levels deep"},
	} {
		if err := Inline(mustParse(t, c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A function of another opset version is harmless as long as nothing calls it
// and where it holds only calls itself.
func TestInlineUnusedFunction(t *testing.T) {
	m := mustParse(t, `<ir_version: 10, opset_import: ["" : 21, "f" : 1]> g (float[N] x) => (float[N] y) { y = f.F (x) }
<domain: "f", opset_import: ["" : 1, "f" : 1, "h" : 2]> F (x) => (y) { a = f.G (x) y = h.Custom (a) }
<domain: "f", opset_import: ["" : 21]> G (x) => (y) { y = Relu (x) }
<domain: "f", opset_import: ["" : 1]> H (x) => (y) { y = Relu (x) }`)
	if err := Inline(m); err != nil {
		t.Fatal(err)
	}
	if m.Opset("h") != 2 {
		t.Error("the opset of the function's custom domain is not imported")
	}
}

// Removing a node with a subgraph releases what the subgraph reads.
func TestRemoveWithSubgraph(t *testing.T) {
	m := mustParse(t, `<ir_version: 10, opset_import: ["" : 21]> g (float[N] x, bool c) => (float[N] y) {
	 y = Relu (x)
	 z = If (c) <then_branch = a () => (p2) { p = Neg (x) p2 = Neg (p) }, else_branch = b () => (x) {}> }`)
	m.Graph.Remove(m.Graph.Nodes[1])
	if got := len(m.Graph.Value("x").Uses()); got != 1 {
		t.Errorf("x has %d uses, want 1", got)
	}
}
