package onnx

import (
	"bytes"
	"os"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
)

// A file that is loaded and saved says the same as before.
func TestRoundTrip(t *testing.T) {
	for _, m := range testenv.Models(t) {
		t.Run(m.Name, func(t *testing.T) {
			model, err := Load(m.Path)
			if err != nil {
				t.Fatal(err)
			}
			first, err := model.Encode()
			if err != nil {
				t.Fatal(err)
			}
			original, err := os.ReadFile(m.Path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(original, first) {
				t.Logf("%d bytes, %d before", len(first), len(original))
			}
			again, err := Decode(first)
			if err != nil {
				t.Fatal(err)
			}
			second, err := again.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first, second) {
				t.Error("saving twice gives different bytes")
			}
		})
	}
}
