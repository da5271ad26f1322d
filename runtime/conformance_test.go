//go:build conformance

package runtime

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
)

// outOfScope reads testdata/out_of_scope.txt: what is not supported, by the
// name of an operator, of a type ("type:string") or of a test ("test:..."), and why.
func outOfScope(t *testing.T) map[string]string {
	f, err := os.Open(filepath.Join("testdata", "out_of_scope.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reasons := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, why, ok := strings.Cut(line, " ")
		if !ok || strings.TrimSpace(why) == "" {
			t.Fatalf("testdata/out_of_scope.txt: %q has no reason", line)
		}
		reasons[name] = strings.TrimSpace(why)
	}
	return reasons
}

// TestConformance runs the node tests of the ONNX backend test suite. A test
// passes, or is out of scope by an entry of testdata/out_of_scope.txt; entries
// that exclude nothing are an error.
func TestConformance(t *testing.T) {
	dir := os.Getenv("DAQ_BACKEND_CASES") // exported before, for repeated runs
	if dir == "" {
		dir = export(t, "backend_cases.py")
	}
	reasons := outOfScope(t)
	used := map[string]int{}
	cases, err := filepath.Glob(filepath.Join(dir, "*", "model.onnx"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	passed, failed, out := 0, 0, 0
	covered := map[string]bool{}
	for _, path := range cases {
		folder := filepath.Dir(path)
		name := filepath.Base(folder)
		m, err := onnx.Load(path)
		if err == nil {
			if why := excluded(name, folder, m, reasons); why != "" {
				used[why]++
				out++
				continue
			}
			err = runCase(folder, m)
		}
		if err != nil {
			failed++
			t.Errorf("%s: %v", name, err)
			continue
		}
		passed++
		for _, n := range m.Graph.Nodes {
			covered[n.Op] = true
		}
	}
	for name := range reasons {
		if used[name] == 0 {
			t.Errorf("testdata/out_of_scope.txt: %q excludes nothing", name)
		}
	}
	var untested []string
	for _, op := range Operators() {
		if !covered[op] {
			untested = append(untested, op)
		}
	}
	t.Logf("backend node tests: %d passed, %d failed, %d out of scope, of %d; operators without a test of their own: %v", passed, failed, out, len(cases), untested)
}

// TestOldOpsets runs operators in the forms that the backend tests no longer have,
// from opset 7 on, against ONNX Runtime.
func TestOldOpsets(t *testing.T) {
	cases, err := filepath.Glob(filepath.Join(export(t, "old_cases.py"), "*", "model.onnx"))
	if err != nil || len(cases) < 100 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	for _, path := range cases {
		m, err := onnx.Load(path)
		if err == nil {
			err = runCase(filepath.Dir(path), m)
		}
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(filepath.Dir(path)), err)
		}
	}
}

// export runs a script that writes tests into a folder.
func export(t *testing.T, script string) string {
	dir := t.TempDir()
	if out, err := exec.Command(testenv.Python(t), filepath.Join(testenv.Root(), "interop", script), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// excluded returns the entry that puts a test out of scope, or "".
func excluded(name, folder string, m *onnx.Model, reasons map[string]string) string {
	if _, ok := reasons["test:"+name]; ok {
		return "test:" + name
	}
	var found string
	var visit func(g *onnx.Graph)
	visit = func(g *onnx.Graph) {
		for _, n := range g.Nodes {
			op := n.Op
			if n.Domain != "" && n.Domain != "ai.onnx" {
				op = n.Domain + "." + op
			}
			if _, ok := reasons[op]; ok && found == "" {
				found = op
			}
			for _, sub := range n.Subgraphs() {
				visit(sub)
			}
		}
	}
	visit(m.Graph)
	for _, v := range slices.Concat(m.Graph.Inputs, m.Graph.Outputs) {
		key := "type:" + v.Type.Elem.String()
		if _, ok := reasons[key]; ok && found == "" {
			found = key
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "not_tensors")); err == nil && found == "" {
		found = "type:sequence"
	}
	return found
}

func runCase(folder string, m *onnx.Model) error {
	var rtol, atol float64
	text, err := os.ReadFile(filepath.Join(folder, "tolerance.txt"))
	if err != nil {
		return err
	}
	if _, err := fmt.Sscan(string(text), &rtol, &atol); err != nil {
		return err
	}
	p, err := Compile(m, Options{Threads: 2})
	if err != nil {
		return err
	}
	ulps := 1.0
	if len(m.Graph.Nodes) > 1 { // the body of a function, operator by operator
		ulps = 2
	}
	sets, err := filepath.Glob(filepath.Join(folder, "data_*.onnx"))
	if err != nil || len(sets) == 0 {
		return fmt.Errorf("no data: %v", err)
	}
	for _, path := range sets {
		data, err := onnx.Load(path)
		if err != nil {
			return err
		}
		inputs, want := map[string]*Tensor{}, map[string]*Tensor{}
		for _, v := range data.Graph.Initializers() {
			x, err := FromONNX(v.Const)
			if err != nil {
				return err
			}
			if name, ok := strings.CutPrefix(v.Name, "in/"); ok {
				inputs[name] = x
			} else {
				want[strings.TrimPrefix(v.Name, "out/")] = x
			}
		}
		got, err := p.Run(context.Background(), inputs, nil)
		if err != nil {
			return err
		}
		for name, w := range want {
			if err := sameTensor(got[name], w, rtol, atol, ulps); err != nil {
				return fmt.Errorf("output %q: %w", name, err)
			}
		}
	}
	return nil
}

// sameTensor compares as numpy.testing.assert_allclose does. 16-bit floats may
// differ by ulps in the last place: the expected values were rounded after
// every addition, ours are rounded once an operator.
func sameTensor(got, want *Tensor, rtol, atol, ulps float64) error {
	if got == nil || got.Type != want.Type || !slices.Equal(got.Shape, want.Shape) {
		return fmt.Errorf("got %s, want %s", got, want)
	}
	if want.Type == onnx.String {
		if a, b := got.Data.([]string), want.Data.([]string); !slices.Equal(a, b) {
			return fmt.Errorf("got %q, want %q", a, b)
		}
		return nil
	}
	a, b := toFloat64(got), toFloat64(want)
	if a == nil || b == nil {
		return fmt.Errorf("%s cannot be compared", got)
	}
	switch want.Type {
	case onnx.Float16:
		rtol = max(rtol, ulps/1024)
	case onnx.Bfloat16:
		rtol = max(rtol, ulps/128)
	}
	for i, x := range a.Data.([]float64) {
		y := b.Data.([]float64)[i]
		if x != y && (x == x || y == y) && !(math.Abs(x-y) <= atol+rtol*math.Abs(y)) {
			return fmt.Errorf("%s: element %d is %v, want %v", got, i, x, y)
		}
	}
	return nil
}
