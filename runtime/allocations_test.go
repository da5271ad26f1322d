package runtime_test

import (
	"context"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// outputAllocations is how many objects a run makes: the output, which belongs to the
// caller, and the maps and lists around it. Nothing is made for a step.
const outputAllocations = 12

// Repeated runs allocate nothing but their output.
func TestRunsAllocateNothing(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector makes sync.Pool forget")
	}
	net := testenv.ModelNamed(t, "EDSR_x2")
	for name, prepare := range map[string]func(*testing.T, *onnx.Model){
		"float": func(*testing.T, *onnx.Model) {},
		"dynamic, 4 bits": func(t *testing.T, m *onnx.Model) {
			if err := onnx.Infer(m); err != nil {
				t.Fatal(err)
			}
			plan, err := passes.MakePlan(m.Graph, passes.Settings{WeightBits: 4, ActivationBits: 4, Rule: passes.Paper}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := passes.Quantize(m, plan, nil, 0); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := onnx.Load(net.Path)
			if err != nil {
				t.Fatal(err)
			}
			prepare(t, m)
			p, err := runtime.Compile(m, runtime.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			x := &runtime.Tensor{Type: onnx.Float, Shape: []int{1, 3, 13, 24}, Data: make([]float32, 3*13*24)}
			inputs := map[string]*runtime.Tensor{"input": x}
			run := func() {
				if _, err := p.Run(context.Background(), inputs, nil); err != nil {
					t.Fatal(err)
				}
			}
			run() // notes what the next ones find
			run()
			if n := testing.AllocsPerRun(10, run); n > outputAllocations {
				t.Errorf("a run allocates %.0f objects, want at most %d", n, outputAllocations)
			} else {
				t.Logf("a run allocates %.0f objects", n)
			}
		})
	}
}
