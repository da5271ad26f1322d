package onnx

import (
	"bytes"
	"os"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
)

// A file that is loaded and saved is the same byte for byte.
func TestRoundTrip(t *testing.T) {
	for _, m := range testenv.Models(t) {
		t.Run(m.Name, func(t *testing.T) {
			model, err := Load(m.Path)
			if err != nil {
				t.Fatal(err)
			}
			original, err := os.ReadFile(m.Path)
			if err != nil {
				t.Fatal(err)
			}
			if got := mustEncode(t, model); !bytes.Equal(original, got) {
				t.Errorf("%d bytes, %d before", len(got), len(original))
			}
			if got := mustEncode(t, model.Clone()); !bytes.Equal(original, got) {
				t.Errorf("the clone has %d bytes, the original %d", len(got), len(original))
			}
		})
	}
}
