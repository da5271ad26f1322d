//go:build unix

package lint

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/daq-sr/daq/internal/peer"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// effect is what became of one model in a runtime.
type effect struct {
	Error      string // of loading or of the first run
	Nodes      []peer.Node
	Difference float64 // largest, to the outputs with optimization disabled
	Range      float64 // of those outputs
}

// fails reports whether the session or its first run fails.
func (e *effect) fails() bool { return e.Error != "" }

// wrong reports whether the outputs are others than those of the plain graph, by more
// than the steps that rounding may differ by.
func (e *effect) wrong() bool { return e.Difference > 0.05*e.Range }

// has returns how many nodes of these operators the optimized graph has.
func (e *effect) has(ops ...string) int {
	count := 0
	for _, n := range e.Nodes {
		if slices.Contains(ops, n.Op) {
			count++
		}
	}
	return count
}

// effects runs models in a runtime as it optimizes them, and in ONNX Runtime of the
// process plain without optimization: the graph as it is written.
func effects(t *testing.T, process, plain *peer.Process, paths []string) []effect {
	t.Helper()
	list := make([]effect, len(paths))
	for i, path := range paths {
		x := randomInput(t, path)
		e := &list[i]
		s, err := process.Open(path, x, peer.Options{})
		if err != nil {
			if errors.Is(err, peer.ErrDead) {
				t.Fatal(err)
			}
			e.Error = err.Error()
			continue
		}
		e.Nodes = s.Nodes
		if p, err := plain.Open(path, x, peer.Options{Level: "disabled"}); err == nil {
			e.Difference, e.Range = compareOutputs(t, s.Output, p.Output)
			closeSession(t, p)
		}
		closeSession(t, s)
	}
	return list
}

// inORT runs models in ONNX Runtime.
func inORT(t *testing.T, r peer.Runtime, paths []string) (release string, list []effect) {
	t.Helper()
	p := startPeer(t, r)
	return p.Version, effects(t, p, p, paths)
}

func startPeer(t *testing.T, r peer.Runtime) *peer.Process {
	t.Helper()
	p, err := peer.Start(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := p.End(); err != nil && !t.Failed() {
			t.Error(err)
		}
	})
	return p
}

func closeSession(t *testing.T, s *peer.Session) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// randomInput returns values in -1..1 for the first input of a model; sizes that are
// not known are 8.
func randomInput(t *testing.T, path string) *runtime.Tensor {
	t.Helper()
	m, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	shape, size := []int{}, 1
	for _, d := range m.Graph.Inputs[0].Type.Shape {
		n := 8
		if d.IsKnown() {
			n = int(d.Value)
		}
		shape, size = append(shape, n), size*n
	}
	random := rand.New(rand.NewPCG(0, 0))
	x := make([]float32, size)
	for i := range x {
		x[i] = float32(2*random.Float64() - 1)
	}
	tensor, err := runtime.Of(shape, x)
	if err != nil {
		t.Fatal(err)
	}
	return tensor
}

// compareOutputs returns the largest difference and the range of b; what is no number
// counts as 0.
func compareOutputs(t *testing.T, a, b *runtime.Tensor) (difference, width float64) {
	t.Helper()
	x, y := a.Data.([]float32), b.Data.([]float32)
	if !slices.Equal(a.Shape, b.Shape) {
		t.Fatalf("shapes %v and %v", a.Shape, b.Shape)
	}
	number := func(v float64) float64 {
		if math.IsNaN(v) {
			return 0
		}
		return v
	}
	low, high := math.Inf(1), math.Inf(-1)
	for i := range x {
		p, q := float64(x[i]), float64(y[i])
		difference = max(difference, number(math.Abs(p-q)))
		low, high = min(low, number(q)), max(high, number(q))
	}
	return difference, high - low
}

// ortRuntimes are the newest ONNX Runtime and, where `make runtimes` could have it, 1.20.
func ortRuntimes(t *testing.T) []peer.Runtime {
	t.Helper()
	list := []peer.Runtime{{Name: "ONNX Runtime", Engine: "ort", Python: testenv.Python(t)}}
	if old := peer.Environment(".venv-ort120"); exists(old) {
		list = append(list, peer.Runtime{Name: "ONNX Runtime 1.20", Engine: "ort", Python: old})
	} else {
		t.Log("no ONNX Runtime 1.20: make runtimes")
	}
	return list
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// saveAll writes graphs to files of a folder of the test.
func saveAll(t *testing.T, graphs []string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for i, g := range graphs {
		path := filepath.Join(dir, fmt.Sprint(i, ".onnx"))
		if err := parse(t, g).Save(path); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func namedTarget(t *testing.T, name string) *target.Target {
	t.Helper()
	found, err := target.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
