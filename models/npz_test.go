package models

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

// array writes a .npy array as NumPy does, padded to a multiple of 64.
func array(descr, order, shape string, data []byte) string {
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", descr, order, shape)
	header += strings.Repeat(" ", 63-(10+len(header))%64) + "\n"
	length := binary.LittleEndian.AppendUint16(nil, uint16(len(header)))
	return "\x93NUMPY\x01\x00" + string(length) + header + string(data)
}

func archive(t *testing.T, method uint16, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		f, err := w.CreateHeader(&zip.FileHeader{Name: entries[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(entries[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var someFloats = onnx.BytesOf([]float32{1, 2, 3, 4, 5, 6})

func TestReadStateDict(t *testing.T) {
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		data := archive(t, method,
			"a.weight.npy", array("<f4", "False", "(2, 3)", someFloats),
			"count.npy", array("<i8", "False", "()", onnx.BytesOf([]int64{7})),
			"bias.npy", array("<f4", "True", "(6,)", someFloats))
		d, err := ReadStateDict(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		values, err := d["a.weight"].Float32s()
		if err != nil || !slices.Equal(values, []float32{1, 2, 3, 4, 5, 6}) || !slices.Equal(d["a.weight"].Shape, []int64{2, 3}) {
			t.Errorf("a.weight is %v %v, %v", d["a.weight"].Shape, values, err)
		}
		if n, err := d["count"].Int64s(); err != nil || !slices.Equal(n, []int64{7}) {
			t.Errorf("count is %v, %v", n, err)
		}
		if !slices.Equal(d["bias"].Shape, []int64{6}) {
			t.Errorf("bias is %v", d["bias"].Shape)
		}
	}
}

func TestBadStateDict(t *testing.T) {
	one := func(content string) []byte { return archive(t, zip.Store, "w.npy", content) }
	good := one(array("<f4", "False", "(2, 3)", someFloats))
	damaged := bytes.Clone(good)
	damaged[bytes.Index(damaged, someFloats)+2] ^= 1
	tests := []struct {
		data    []byte
		message string
	}{
		{nil, "not a .npz file"},
		{good[:len(good)-1], "not a .npz file"},
		{damaged, `array "w": data are damaged`},
		{one(""), "not a .npy array"},
		{one("\x93NUMPY\x01\x00"), "header is cut off"},
		{one("\x93NUMPY\x02\x00\xff\xff\xff\xff"), "too long"},
		{one("\x93NUMPY\x01\x00\xff\x00{"), "header is cut off"},
		{one(array("<f4", "False", "(2, 3)", someFloats[:20])), "20 bytes of data"},
		{one(array("<f4", "False", "(2, 2)", someFloats)), "24 bytes of data"},
		{one(array("<f4", "False", "(99999999999, 99999999999)", nil)), "too large"},
		{one(array("<f4", "False", "(99999999999999999999,)", nil)), "shape"},
		{one(array("<f4", "False", "(-1,)", nil)), "plain array"},
		{one(array("<f4", "True", "(2, 3)", someFloats)), "Fortran"},
		{one(array("|O", "False", "(2, 3)", someFloats)), `"|O"`},
		{one(array(">f4", "False", "(2, 3)", someFloats)), `">f4"`},
		{archive(t, zip.Store, "readme.txt", "x"), "not a .npy array"},
		{archive(t, zip.Store, "w.npy", array("<f4", "False", "(6,)", someFloats), "w.npy", array("<f4", "False", "(6,)", someFloats)), "two arrays"},
	}
	for _, test := range tests {
		_, err := ReadStateDict(bytes.NewReader(test.data), int64(len(test.data)))
		if err == nil || !strings.Contains(err.Error(), test.message) {
			t.Errorf("error %v, want one with %q", err, test.message)
		}
	}
}

// No bytes make the reader panic or allocate what is not there.
func FuzzReadStateDict(f *testing.F) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	e, err := w.Create("w.npy")
	if err != nil {
		f.Fatal(err)
	}
	if _, err := e.Write([]byte(array("<f4", "False", "(2, 3)", someFloats))); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ReadStateDict(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for name, tensor := range d {
			if err := tensor.Check(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
