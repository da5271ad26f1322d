package onnx

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
)

// withExternal is a model of one float tensor in weights.bin.
func withExternal(entries string) string {
	return `<ir_version: 10, opset_import: ["" : 21]> g (float[4] x) => (float[4] y) <float[4] w = [` + entries + `]> { y = Add (x, w) }`
}

// writeText writes the model of a text, references to external data as they are.
func writeText(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "m.onnx")
	if err := os.WriteFile(path, mustEncode(t, mustParse(t, text)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadExternal(t *testing.T) {
	dir := t.TempDir()
	data := BytesOf([]float32{9, 1, 2, 3, 4, 9})
	if err := os.WriteFile(filepath.Join(dir, "weights.bin"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	// The length may be missing; a checksum is not looked at.
	for _, length := range []string{`, "length": "16", "checksum": "0"`, ``} {
		m, err := Load(writeText(t, dir, withExternal(`"location": "weights.bin", "offset": "4"`+length)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.Graph.Value("w").Const.Float32s(); err != nil || got[0] != 1 || got[3] != 4 {
			t.Errorf("%v, %v", got, err)
		}
	}
	// Every place a tensor can be in, and one range for two tensors.
	m, err := Load(writeText(t, dir, `<ir_version: 10, opset_import: ["" : 21]> g (bool c) => (float[4] y) <float[1] w = ["location": "weights.bin"], float[1] w2 = ["location": "weights.bin"]> {
		y = If (c) <then_branch = a () => (p) <float[1] k = ["location": "weights.bin", "offset": "8"]> { p = Add (k, w) }, else_branch = b () => (w2) {}> }`))
	if err != nil {
		t.Fatal(err)
	}
	k, _ := m.Graph.Nodes[0].Subgraphs()[0].Value("k").Const.Float32s()
	w, w2 := m.Graph.Value("w").Const.Data, m.Graph.Value("w2").Const.Data
	if k[0] != 2 || &w[0] != &w2[0] {
		t.Errorf("k is %v, w and w2 share memory: %v", k, &w[0] == &w2[0])
	}
}

func TestLoadExternalErrors(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "model")
	for _, d := range []string{dir, filepath.Join(dir, "folder")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{filepath.Join(outer, "secret"), filepath.Join(dir, "w")} {
		if err := os.WriteFile(path, make([]byte, 20), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link": "../secret", "absolute": filepath.Join(outer, "secret"), "up": "..", "dangling": "nothing"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	const outside = "not inside the model's folder"
	for entries, want := range map[string]string{
		`"location": "` + filepath.Join(outer, "secret") + `"`:           outside,
		`"location": "../secret"`:                                        outside,
		`"location": "folder/../../secret"`:                              outside,
		`"location": "link"`:                                             outside,
		`"location": "absolute"`:                                         outside,
		`"location": "up/secret"`:                                        outside,
		`"location": "dangling"`:                                         `"dangling" is missing`,
		`"location": "gone"`:                                             `"gone" is missing`,
		`"location": "folder"`:                                           "not a file",
		`"location": ""`:                                                 "no location",
		`"offset": "0"`:                                                  "no location",
		`"location": "w", "offset": "8"`:                                 "go beyond the end",
		`"location": "w", "offset": "9223372036854775807"`:               "go beyond the end",
		`"location": "w", "offset": "-1"`:                                "offset",
		`"location": "w", "offset": "x"`:                                 "offset",
		`"location": "w", "length": "12"`:                                `length "12"`,
		`"location": "w", "length": "99999999999999999999"`:              "length",
		`"location": "w"], float[4] v = ["location": "w", "offset": "4"`: "overlap",
	} {
		path := writeText(t, dir, withExternal(entries))
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path+`: tensor "`) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
	path := writeText(t, dir, strings.Replace(withExternal(`"location": "w"`), "float[4] w", "float[500000000000000000] w", 1))
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "beyond the end") {
		t.Errorf("huge shape: %v", err)
	}
}

func loadNetwork(t testing.TB, name string) *Model {
	t.Helper()
	m, err := Load(testenv.ModelNamed(t, name).Path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSaveExternal(t *testing.T) {
	m, dir := loadNetwork(t, "ESRGAN_slim_x2"), t.TempDir()
	path := filepath.Join(dir, "big.onnx")
	before := singleFileLimit
	singleFileLimit = 100_000
	defer func() { singleFileLimit = before }()
	want := mustEncode(t, m)
	// The second time the files overwrite those that the model was read from.
	for range 2 {
		if err := m.Save(path); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Size() > 100_000 {
			t.Fatalf("%v, %v", info, err)
		}
		if m, err = Load(path); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(mustEncode(t, m), want) {
			t.Error("the model changed")
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 2 {
		t.Errorf("files left: %v", files)
	}
	// Small again: one file, which does not need the other.
	singleFileLimit = before
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + ".data"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// onnx.load, its checker and ONNX Runtime take our external data.
func TestSaveExternalUpstream(t *testing.T) {
	python, m, dir := testenv.Python(t), loadNetwork(t, "PAN_x4"), t.TempDir()
	one, two := filepath.Join(dir, "one.onnx"), filepath.Join(dir, "two.onnx")
	if err := m.Save(one); err != nil {
		t.Fatal(err)
	}
	if err := m.SaveExternal(two); err != nil {
		t.Fatal(err)
	}
	const script = `
import sys, onnx
a, b = (onnx.load(p) for p in sys.argv[1:])
raw = onnx.load(sys.argv[2], load_external_data=False)
external = [t for t in raw.graph.initializer if t.data_location == t.EXTERNAL]
assert len(external) > 100, len(external)
assert all(int(e.value) % 4096 == 0 for t in external for e in t.external_data if e.key == "offset")
onnx.checker.check_model(sys.argv[2], full_check=True)
for x, y in zip(a.graph.initializer, b.graph.initializer, strict=True):
    assert x.name == y.name and (onnx.numpy_helper.to_array(x) == onnx.numpy_helper.to_array(y)).all(), x.name
`
	if out, err := exec.Command(python, "-c", script, one, two).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(python, "testdata/same.py", one, two).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// What stands at the path stays when saving fails at any step.
func TestSaveFailureKeepsOriginals(t *testing.T) {
	m := mustParse(t, withExternal(`"location": "w"`))
	m.Graph.AddInitializer("large", Floats([]int64{512}, make([]float32, 512)...))
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	write := func(path string) {
		if err := os.WriteFile(path, []byte("old "+filepath.Base(path)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	block := func(path string) { // nothing can be renamed to a folder that is not empty
		if err := os.MkdirAll(filepath.Join(path, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	onlyIn := func(dir string, want int) {
		if files, _ := os.ReadDir(dir); len(files) != want {
			t.Errorf("%d files left: %v", len(files), files)
		}
	}

	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	write(path)
	block(path + ".data")
	if err := m.SaveExternal(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("data file blocked: %v", err)
	}
	if got := read(path); got != "old m.onnx" {
		t.Errorf("the model is %q", got)
	}
	onlyIn(dir, 2)

	dir = t.TempDir()
	path = filepath.Join(dir, "m.onnx")
	write(path + ".data")
	block(path)
	if err := m.SaveExternal(path); err == nil {
		t.Error("model blocked: no error")
	}
	if got := read(path + ".data"); got != "old m.onnx.data" {
		t.Errorf("the data are %q", got)
	}
	onlyIn(dir, 2)

	dir = t.TempDir()
	path = filepath.Join(dir, "m.onnx")
	block(path)
	if err := m.SaveExternal(path); err == nil {
		t.Error("model blocked: no error")
	}
	onlyIn(dir, 1)
	if err := m.Save(filepath.Join(dir, "nowhere", "m.onnx")); err == nil {
		t.Error("missing folder: no error")
	}
}
