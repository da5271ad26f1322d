package models

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/daq-sr/daq/internal/npy"
	"github.com/daq-sr/daq/onnx"
)

// LoadStateDict reads a state dictionary from a .npz file, as
//
//	numpy.savez(path, **{k: v.numpy() for k, v in model.state_dict().items()})
//
// writes it. Arrays are float32, int64 (counters) and in C order.
func LoadStateDict(path string) (StateDict, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d, err := ReadStateDict(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// ReadStateDict reads a state dictionary from the size bytes of a .npz file.
func ReadStateDict(r io.ReaderAt, size int64) (StateDict, error) {
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("not a .npz file, or cut off: %w", err)
	}
	d := StateDict{}
	total := int64(0)
	for _, f := range archive.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		if !ok {
			return nil, fmt.Errorf("entry %q is not a .npy array", f.Name)
		}
		if d[name] != nil {
			return nil, fmt.Errorf("two arrays are named %q", name)
		}
		if total += int64(min(f.UncompressedSize64, maxBytes+1)); total > maxBytes {
			return nil, fmt.Errorf("array %q: the arrays exceed %d bytes together", name, maxBytes)
		}
		if d[name], err = readEntry(f); err != nil {
			return nil, fmt.Errorf("array %q: %w", name, err)
		}
	}
	return d, nil
}

func readEntry(f *zip.File) (*onnx.Tensor, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return npy.ReadArray(r, int64(f.UncompressedSize64))
}
