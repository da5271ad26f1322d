package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/models"
)

// result is what one command line gave.
type result struct {
	code           int
	stdout, stderr string
}

func daq(args ...string) result { return daqContext(context.Background(), args...) }

func daqContext(ctx context.Context, args ...string) result {
	var out, err bytes.Buffer
	code := execute(ctx, args, &out, &err)
	return result{code, out.String(), err.String()}
}

// must fails the test unless the command line did its work without a word on
// stderr.
func must(t *testing.T, args ...string) string {
	t.Helper()
	r := daq(args...)
	if r.code != exitDone || r.stderr != "" {
		t.Fatalf("daq %s: exit %d, stderr %q", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

// fails checks exit code and that stderr is one line "daq: ..." with every text.
func fails(t *testing.T, r result, code int, texts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit %d, want %d; stderr %q", r.code, code, r.stderr)
	}
	if !strings.HasPrefix(r.stderr, "daq: ") || strings.Count(r.stderr, "\n") != 1 || !strings.HasSuffix(r.stderr, "\n") {
		t.Errorf("stderr is not one line beginning with daq: %q", r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("stderr %q lacks %q", r.stderr, text)
		}
	}
}

// files is a folder with
//
//	float.onnx   the built-in network
//	photos/      2 low-resolution photographs of 40x40
//	data/        2 originals of 80x80
type files string

func (f files) path(name string) string { return filepath.Join(string(f), name) }

func (f files) list(t *testing.T, name string) []string {
	t.Helper()
	entries, err := os.ReadDir(f.path(name))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func newFiles(t *testing.T) files {
	t.Helper()
	f := files(t.TempDir())
	m, err := models.Builtin()
	check(t, err)
	check(t, m.Save(f.path("float.onnx")))
	for _, set := range []struct {
		from, to string
		size     int
	}{{"calibration/LRx2", "photos", 40}, {"validation/HR", "data", 80}} {
		check(t, os.Mkdir(f.path(set.to), 0o777))
		entries, err := fs.ReadDir(models.BuiltinImages(), set.from)
		check(t, err)
		for _, e := range entries[:2] {
			data, err := fs.ReadFile(models.BuiltinImages(), set.from+"/"+e.Name())
			check(t, err)
			whole, err := imaging.Decode(bytes.NewReader(data))
			check(t, err)
			part, err := whole.Crop(set.size, set.size)
			check(t, err)
			check(t, imaging.WriteFile(filepath.Join(f.path(set.to), e.Name()), part))
		}
	}
	return f
}

func (f files) quantized(t *testing.T) string {
	t.Helper()
	out := f.path("quantized.onnx")
	must(t, "quantize", f.path("float.onnx"), "-o", out, "--step", "paper", "--bits", "3")
	return out
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func convolutionsOf(t *testing.T, path string) []string {
	t.Helper()
	var s struct {
		Convolutions []struct {
			Name           string
			WeightBits     int `json:"weight_bits"`
			ActivationBits int `json:"activation_bits"`
		}
	}
	decode(t, must(t, "inspect", path, "--json"), &s)
	var list []string
	for _, c := range s.Convolutions {
		list = append(list, fmt.Sprintf("%s W%d A%d", c.Name, c.WeightBits, c.ActivationBits))
	}
	return list
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}

func same(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	check(t, err)
	y, err := os.ReadFile(b)
	check(t, err)
	if !bytes.Equal(x, y) {
		t.Errorf("%s and %s differ", a, b)
	}
}

// sameKeys checks that JSON has the shape of want; lists are checked against the
// first element.
func sameKeys(t *testing.T, at string, got, want any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		m, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s is %T", at, got)
			return
		}
		for k := range m {
			if _, ok := want[k]; !ok {
				t.Errorf("%s.%s is not promised", at, k)
			}
		}
		for k, v := range want {
			if _, ok := m[k]; !ok {
				t.Errorf("%s.%s is missing", at, k)
				continue
			}
			sameKeys(t, at+"."+k, m[k], v)
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) == 0 {
			t.Errorf("%s is %v", at, got)
			return
		}
		for _, v := range list {
			sameKeys(t, at+"[]", v, want[0])
		}
	default:
		if fmt.Sprintf("%T", got) != fmt.Sprintf("%T", want) {
			t.Errorf("%s is %T, want %T", at, got, want)
		}
	}
}
