package onnx

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/daq-sr/daq/internal/atomicfile"
	"github.com/daq-sr/daq/onnx/onnxpb"
)

// singleFileLimit is the size up to which Save puts a model into one file: what
// protobuf can hold is 2 GiB, and some readers want room to spare.
var singleFileLimit = 1<<31 - 64<<20

// Load reads a model from a file, and its external data from the files beside
// it. Nothing of them stays open or mapped. Errors name the file.
func Load(path string) (*Model, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if info.Size() > math.MaxInt32 {
		return nil, fmt.Errorf("%s has %d bytes, an ONNX file can have 2 GiB: save the model with external data", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := unmarshal(data)
	data = nil // the message holds copies
	var external []string
	if err == nil {
		external, err = readExternal(p, filepath.Dir(path))
	}
	var m *Model
	if err == nil {
		m, err = decodeModel(p)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m.External = external
	return m, nil
}

// Decode reads a model from the bytes of a file. Tensors that refer to external
// data have none; they keep the reference, and Check names them.
func Decode(data []byte) (*Model, error) {
	p, err := unmarshal(data)
	if err != nil {
		return nil, err
	}
	return decodeModel(p)
}

func unmarshal(data []byte) (*onnxpb.ModelProto, error) {
	err := scan(data)
	p := &onnxpb.ModelProto{}
	if err == nil {
		err = p.Unmarshal(data)
	}
	if err != nil {
		return nil, fmt.Errorf("not an ONNX model, or cut off: %w", err)
	}
	return p, nil
}

// Encode returns the bytes of the model's file, all tensors in it.
func (m *Model) Encode() ([]byte, error) {
	p := m.encode()
	if size := p.Size(); size > math.MaxInt32 {
		return nil, fmt.Errorf("the model has %d bytes, one file can have 2 GiB: save it with external data", size)
	}
	return p.Marshal()
}

// Save writes the model, with its large tensors in PATH.data when it is too
// large for one file. A file at path is replaced only when everything is written.
func (m *Model) Save(path string) error {
	p := m.encode()
	if p.Size() > singleFileLimit {
		return save(p, path, true)
	}
	return save(p, path, false)
}

// SaveExternal writes the model with every initializer of 1 KiB or more in
// PATH.data, at offsets that are multiples of 4096 so that runtimes can map it.
func (m *Model) SaveExternal(path string) error { return save(m.encode(), path, true) }

func save(p *onnxpb.ModelProto, path string, external bool) error {
	var tensors []*onnxpb.TensorProto
	var contents [][]byte
	if external {
		tensors = largeInitializers(p.Graph)
		contents = detach(tensors, filepath.Base(path)+".data")
	}
	data, err := p.Marshal()
	if err == nil && len(data) > math.MaxInt32 {
		err = fmt.Errorf("%d bytes are left beside the external data, one file can have 2 GiB", len(data))
	}
	if err == nil && len(tensors) == 0 {
		err = atomicfile.Write(path, func(w io.Writer) error { return writeAll(w, data) })
	} else if err == nil {
		err = savePair(path, data, func(w io.Writer) error { return writeAligned(w, contents) })
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeAll(w io.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

// savePair writes PATH.data and path. Both are complete before the first takes
// its name, and the data file of a model that stood there comes back when the
// second cannot take its own.
func savePair(path string, model []byte, writeData func(io.Writer) error) error {
	dataPath := path + ".data"
	backup := fmt.Sprintf("%s.%016x.old", dataPath, rand.Uint64())
	replaced := false
	err := atomicfile.Write(path, func(w io.Writer) error {
		if err := writeAll(w, model); err != nil {
			return err
		}
		return atomicfile.Write(dataPath, func(w io.Writer) error {
			if err := writeData(w); err != nil {
				return err
			}
			// The last step before the rename.
			if err := os.Link(dataPath, backup); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("the old data cannot be kept until the new model is complete: %w", err)
			}
			replaced = true
			return nil
		})
	})
	if err != nil && replaced {
		if os.Rename(backup, dataPath) != nil {
			os.Remove(dataPath) // there was none
		}
	}
	os.Remove(backup)
	return err
}
