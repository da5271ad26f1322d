package onnx

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// Load reads a model from a file. Errors name the file.
func Load(path string) (*Model, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Decode reads a model from the bytes of a file.
func Decode(data []byte) (*Model, error) {
	p := &onnxpb.ModelProto{}
	if err := p.Unmarshal(data); err != nil {
		return nil, fmt.Errorf("not an ONNX model, or cut off: %w", err)
	}
	return decodeModel(p)
}

// Encode returns the bytes of the model's file.
func (m *Model) Encode() ([]byte, error) { return m.encode().Marshal() }

// Save writes the model beside path and renames it, so that path is never
// half written.
func (m *Model) Save(path string) error {
	data, err := m.Encode()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(0o644)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
