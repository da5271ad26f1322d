package models

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

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
	return readArray(r, int64(f.UncompressedSize64))
}

// readArray reads an array in NumPy's format 1.0 to 3.0 (numpy.lib.format)
// that takes size bytes with its header.
func readArray(r io.Reader, size int64) (*onnx.Tensor, error) {
	var magic [8]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil || string(magic[:6]) != "\x93NUMPY" {
		return nil, fmt.Errorf("not a .npy array")
	}
	length := make([]byte, 2)
	if magic[6] >= 2 {
		length = make([]byte, 4)
	}
	if _, err := io.ReadFull(r, length); err != nil {
		return nil, fmt.Errorf("header is cut off")
	}
	headerSize := int64(binary.LittleEndian.Uint32(append(length, 0, 0)))
	if headerSize > 1<<16 {
		return nil, fmt.Errorf("header of %d bytes is too long", headerSize)
	}
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, fmt.Errorf("header is cut off")
	}
	typ, shape, err := parseHeader(string(header))
	if err != nil {
		return nil, err
	}
	n, err := onnx.Elements(shape)
	if err != nil {
		return nil, err
	}
	got := size - int64(len(magic)+len(length)) - headerSize
	if want := typ.Bytes(n); got != want {
		return nil, fmt.Errorf("%d bytes of data, %s%v needs %d", got, typ, shape, want)
	}
	// The buffer grows as data come: a false size costs nothing.
	var data bytes.Buffer
	if read, err := io.Copy(&data, io.LimitReader(r, got)); err != nil || read != got {
		return nil, fmt.Errorf("data are cut off after %d of %d bytes (%v)", read, got, err)
	}
	// One byte more makes the archive check the sum.
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		return nil, fmt.Errorf("data are damaged: %v", err)
	}
	return onnx.NewTensor(typ, shape, data.Bytes()), nil
}

// The header is the text of a Python dictionary with exactly these keys.
var (
	headerType  = regexp.MustCompile(`'descr': *'([^']*)'`)
	headerOrder = regexp.MustCompile(`'fortran_order': *(True|False)`)
	headerShape = regexp.MustCompile(`'shape': *\(([0-9, ]*)\)`)
)

func parseHeader(header string) (onnx.DataType, []int64, error) {
	typ, order, shape := headerType.FindStringSubmatch(header), headerOrder.FindStringSubmatch(header), headerShape.FindStringSubmatch(header)
	if typ == nil || order == nil || shape == nil {
		return 0, nil, fmt.Errorf("header %.100q is not that of a plain array", header)
	}
	var elem onnx.DataType
	switch typ[1] {
	case "<f4":
		elem = onnx.Float
	case "<i8":
		elem = onnx.Int64
	default:
		return 0, nil, fmt.Errorf("element type %q: save as float32", typ[1])
	}
	dims := []int64{}
	for field := range strings.SplitSeq(shape[1], ",") {
		if field = strings.TrimSpace(field); field == "" {
			continue
		}
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, nil, fmt.Errorf("shape (%s): %w", shape[1], err)
		}
		dims = append(dims, n)
	}
	if order[1] == "True" && len(dims) > 1 {
		return 0, nil, fmt.Errorf("the array is in Fortran order: save numpy.ascontiguousarray of it")
	}
	return elem, dims, nil
}
