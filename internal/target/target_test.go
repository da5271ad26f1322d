package target

import (
	"testing"

	"github.com/daq-sr/daq/onnx"
)

func TestNamed(t *testing.T) {
	for _, name := range Names() {
		if got, err := Named(name); err != nil || got.Name != name {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := Named("tflite"); err == nil || err.Error() != `target "tflite": want portable, onnxruntime, openvino, tensorrt, web, storage` {
		t.Errorf("unknown target: %v", err)
	}
}

func TestForm(t *testing.T) {
	m, err := onnx.Parse(`<ir_version: 8, opset_import: ["" : 13]>
g (float[1,4,8,8] x) => (float[1,4,16,16] y, float[1,4,16,16] z) {
  scales = Constant <value = float[4] {1, 1, 2, 2}> ()
  y = Resize <mode = "nearest"> (x, , scales)
  z = Resize <mode = "linear"> (x, , scales)
}`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]Form{1: Moves, 2: Float} {
		if got := onnxruntime.Form(m.Graph.Nodes[i]); got != want {
			t.Errorf("%s: %v, want %v", m.Graph.Nodes[i], got, want)
		}
	}
}
