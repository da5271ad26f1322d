// Package npy reads and writes the array files of NumPy (format 1.0 to 3.0,
// C order): weights saved from PyTorch, and exchange with Python in tests.
package npy

import (
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

const magic = "\x93NUMPY"

// Write stores float32 elements.
func Write(path string, shape []int, data []float32) error {
	dims := make([]string, len(shape))
	n := 1
	for i, d := range shape {
		dims[i] = strconv.Itoa(d) + ","
		n *= d
	}
	if n != len(data) {
		return fmt.Errorf("%s: %d elements for shape %v", path, len(data), shape)
	}
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", strings.Join(dims, " "))
	// Header and preamble fill a multiple of 64 bytes and end in a newline.
	for (len(magic)+4+len(header)+1)%64 != 0 {
		header += " "
	}
	header += "\n"
	var b bytes.Buffer
	b.WriteString(magic + "\x01\x00")
	binary.Write(&b, binary.LittleEndian, uint16(len(header)))
	b.WriteString(header)
	binary.Write(&b, binary.LittleEndian, data)
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// Read loads float32 elements; other types are an error.
func Read(path string) (shape []int, data []float32, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	t, err := ReadArray(f, info.Size())
	if err == nil {
		data, err = t.Float32s()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, d := range t.Shape {
		shape = append(shape, int(d))
	}
	return shape, data, nil
}

// ReadArray reads a float32 or int64 array in NumPy's format 1.0 to 3.0
// (numpy.lib.format), C order, that takes size bytes with its header.
func ReadArray(r io.Reader, size int64) (*onnx.Tensor, error) {
	var preamble [8]byte
	if _, err := io.ReadFull(r, preamble[:]); err != nil || string(preamble[:6]) != magic {
		return nil, fmt.Errorf("not a .npy array")
	}
	length := make([]byte, 2)
	if preamble[6] >= 2 {
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
	got := size - int64(len(preamble)+len(length)) - headerSize
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
