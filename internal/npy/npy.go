// Package npy reads and writes the array files of NumPy (format 1.0 to 3.0,
// C order) for exchange with Python scripts in tests.
package npy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
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

var fields = regexp.MustCompile(`'descr': *'([^']+)'.*'fortran_order': *(True|False).*'shape': *\(([^)]*)\)`)

// Read loads float32 elements; other types are an error.
func Read(path string) (shape []int, data []float32, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	if shape, data, err = decode(b); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return shape, data, nil
}

func decode(b []byte) (shape []int, data []float32, err error) {
	if len(b) < 12 || string(b[:6]) != magic {
		return nil, nil, fmt.Errorf("not a .npy file")
	}
	size, start := int(binary.LittleEndian.Uint16(b[8:])), 10
	if b[6] > 1 {
		size, start = int(binary.LittleEndian.Uint32(b[8:])), 12
	}
	if size > len(b)-start {
		return nil, nil, fmt.Errorf("the header is cut off")
	}
	m := fields.FindStringSubmatch(string(b[start : start+size]))
	if m == nil || m[1] != "<f4" || m[2] != "False" {
		return nil, nil, fmt.Errorf("want float32 in C order, have %q", b[start:start+size])
	}
	n := 1
	for d := range strings.SplitSeq(m[3], ",") {
		if d = strings.TrimSpace(d); d == "" {
			continue
		}
		v, err := strconv.Atoi(d)
		if err != nil || v < 0 || v > 0 && n > 1<<40/v {
			return nil, nil, fmt.Errorf("bad shape (%s)", m[3])
		}
		shape = append(shape, v)
		n *= v
	}
	body := b[start+size:]
	if len(body) != 4*n {
		return nil, nil, fmt.Errorf("%d bytes for shape %v", len(body), shape)
	}
	data = make([]float32, n)
	_, err = binary.Decode(body, binary.LittleEndian, data)
	return shape, data, err
}
