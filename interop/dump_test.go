package interop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/npy"
	"github.com/daq-sr/daq/internal/testenv"
)

// TestInteropDump: the tensors of a static graph that dump_ort.py writes are all found by
// `daq compare --dump`, and none is far from ours; of one that is changed it says so.
func TestInteropDump(t *testing.T) {
	python := testenv.Python(t)
	net := builtin()
	model := staticNetwork(t, net, 8)
	photo := inputOf(t, net, 24, 20)
	dir := t.TempDir()
	path, input, dump := filepath.Join(dir, "static.onnx"), filepath.Join(dir, "input.npy"), filepath.Join(dir, "dump")
	if err := model.Save(path); err != nil {
		t.Fatal(err)
	}
	if err := npy.Write(input, photo.Shape, photo.Data.([]float32)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(python, filepath.Join(testenv.Root(), "interop", "dump_ort.py"), path, input, dump).CombinedOutput(); err != nil {
		t.Fatalf("ONNX Runtime: %v\n%s", err, out)
	}
	c, err := converter.CompareDump(context.Background(), model, dump, 0)
	if err != nil {
		t.Fatal(err)
	}
	if bad := c.FirstBad(40); bad != nil || c.Unmatched > 0 {
		t.Errorf("%d tensors are missing, the first that is off is %+v", c.Unmatched, bad)
	}
	sums := 0
	for _, d := range c.Tensors {
		if d.Operator == "Conv" {
			sums++
		}
	}
	t.Logf("%d tensors, %d of them of convolutions", len(c.Tensors), sums)
	if sums == 0 {
		t.Error("no convolution was compared")
	}
	middle := c.Tensors[len(c.Tensors)/2]
	file := filepath.Join(dump, middle.B+".npy")
	shape, data, err := npy.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		if i%2 == 0 {
			data[i] += 10
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := npy.Write(file, shape, data); err != nil {
		t.Fatal(err)
	}
	if c, err = converter.CompareDump(context.Background(), model, dump, 0); err != nil {
		t.Fatal(err)
	}
	if bad := c.FirstBad(20); bad == nil || bad.A != middle.A {
		t.Errorf("%q was changed, found to be off: %+v", middle.A, bad)
	}
}

// builtin is the network that comes with the program.
func builtin() testenv.Model {
	return testenv.Model{Name: "edsr_tiny_x2", Path: filepath.Join(testenv.Root(), "models", "builtin", "edsr_tiny_x2.onnx"), Scale: 2, Range: 1}
}
