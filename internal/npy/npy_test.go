package npy

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	for _, shape := range [][]int{{}, {3}, {2, 3}, {0, 4}, {1, 2, 3, 4}} {
		n := 1
		for _, d := range shape {
			n *= d
		}
		data := make([]float32, n)
		for i := range data {
			data[i] = float32(i) - 0.5
		}
		path := filepath.Join(t.TempDir(), "a.npy")
		if err := Write(path, shape, data); err != nil {
			t.Fatal(err)
		}
		gotShape, got, err := Read(path)
		if err != nil || !slices.Equal(gotShape, shape) || !slices.Equal(got, data) {
			t.Errorf("shape %v: got %v %v, %v", shape, gotShape, got, err)
		}
	}
}

func TestBroken(t *testing.T) {
	for name, file := range map[string]string{
		"empty":  "",
		"no npy": "hello, this is text",
		"cut":    magic + "\x01\x00\xff\x00{'descr': '<f4'",
		"int":    magic + "\x01\x00\x3b\x00{'descr': '<i4', 'fortran_order': False, 'shape': (0,), }  \n",
		"short":  magic + "\x01\x00\x3b\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9,), }  \n",
	} {
		if _, err := ReadArray(strings.NewReader(file), int64(len(file))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
