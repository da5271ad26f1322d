package onnx

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
)

// allTypes uses every element type; upstream's parser keeps the elements of
// types below 8 bits unpacked, so those are in subByte.
const allTypes = `<ir_version: 13, opset_import: ["" : 25, "daq" : 1], producer_name: "x\"y", producer_version: "1",
 domain: "d", model_version: 3, doc_string: "two
lines", metadata_props: ["k": "v\\", "empty": ""]>
# a comment
agraph (float[N,3,H,W] X, float["2*h",?] q, float s0, float[] r, seq(float[N]) sq, optional(map(int64, string)) om) => (float[N,3,H,W] Y, sparse_tensor(float[2]) "sp x")
 <float[2] w = {1,2.5}, float s = {1e-07}, float[0] e = {}, float[3] special = {inf, -inf, nan}, double[1] d = {1e-300},
  string[3] st = {"a","b\"c","two
lines"}, bfloat16[2] bf = {16256, 0}, float16[1] h = {15360}, uint8[2] u8 = {1,255}, int8[2] i8 = {-128,127}, uint16[1] u16 = {65535},
  int16[1] i16 = {-32768}, uint32[1] u32 = {4294967295}, int32[1] i32 = {-2147483648}, uint64[1] u64 = {18446744073709551615},
  int64[1] i64 = {-9223372036854775808}, bool[2] b = {1,0}, complex64[1] c = {1,2}, complex128[1] cc = {1,-2},
  float8e4m3fn[1] f8 = {56}, float8e5m2[1] f8b = {60}, float8e4m3fnuz[1] f8c = {64}, float8e5m2fnuz[1] f8d = {64}, float8e8m0[1] f8e = {127},
  float[N] a>
{
   [conv] a = Conv <pads = [1,1,1,1], alpha: float = 1, beta = 2.0, fs: floats = [1, 2], name = "q\"\\", names = ["a", "b"], none: ints = [],
      t = float[2] {1,2}, t2: tensor = int64 named {3}, tp: type_proto = float[N], f = nan> (X, w)
   ["weird/name 1"] "a/b", "", z = com.example.Thing:over (X, "", "q")
   Y = If (s) <then_branch = then_graph () => (float[N] y1) <float[1] k = {3}> { y1 = Add (X, k) }, else_branch: graph = other () => (y2) { y2 = Identity (a) }>
   "sp x" = daq.F <alpha = 3.5> (z)
    = Nothing ()
}
<domain: "daq", overload: "o", opset_import: ["" : 25]>
F <beta, alpha: float = 0.5> (x) => (y) <float[N] u> { u = LeakyRelu <alpha: float = @alpha> (x)
  y = Identity (u) }
<domain: "daq", opset_import: ["" : 25]>
F <beta, alpha: float = 0.5> (x) => (y) { y = LeakyRelu <alpha: float = @alpha> (x) }
`

const subByte = `<ir_version: 13, opset_import: ["" : 25]>
g (float[N] X) => (float[N] Y)
 <int4[3] a = {1,-8,7}, uint4[3] b = {1,15,0}, int2[5] c = {1,-2,0,-1,1}, uint2[5] d = {3,2,1,0,3}, float4e2m1[3] e = {1, 15, 0},
  float6e2m3[1] f = {33}, float6e3m2[1] g = {33}>
{ Y = Id (X) }
`

func mustParse(t testing.TB, text string) *Model {
	t.Helper()
	m, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustEncode(t testing.TB, m *Model) []byte {
	t.Helper()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTextRoundTrip(t *testing.T) {
	for name, text := range map[string]string{"types": allTypes, "subbyte": subByte} {
		m := mustParse(t, text)
		printed := m.FullText()
		again := mustParse(t, printed)
		if got, want := mustEncode(t, again), mustEncode(t, m); string(got) != string(want) {
			t.Errorf("%s: the model changed:\n%s", name, printed)
		}
	}
}

func TestSubByteValues(t *testing.T) {
	m := mustParse(t, subByte)
	for name, want := range map[string]string{"a": "\x81\x07", "b": "\xf1\x00", "c": "\xc9\x01", "d": "\x1b\x03", "e": "\xf1\x00"} {
		if got := string(m.Graph.Value(name).Const.Data); got != want {
			t.Errorf("%s is %x, want %x", name, got, want)
		}
	}
}

func text(t *testing.T, python string, args ...string) {
	t.Helper()
	out, err := exec.Command(python, append([]string{"testdata/text.py"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("text.py %v: %v\n%s", args, err, out)
	}
}

// Our text parses in onnx.parser into an equal model, and the other way round.
func TestTextUpstream(t *testing.T) {
	python, dir := testenv.Python(t), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, content string) string {
		if err := os.WriteFile(at(name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return at(name)
	}
	text(t, python, "parse", write("source.txt", allTypes), at("theirs.onnx"))
	write("ours.onnx", string(mustEncode(t, mustParse(t, allTypes))))
	text(t, python, "equal", at("theirs.onnx"), at("ours.onnx"))

	// What we print is read by upstream.
	text(t, python, "parse", write("ours.txt", mustParse(t, allTypes).FullText()), at("ours2.onnx"))
	text(t, python, "equal", at("theirs.onnx"), at("ours2.onnx"))

	// What upstream prints is read by us. Its printer leaves out complex and
	// sub-byte data, and of functions the value infos and attribute defaults.
	lines := strings.NewReplacer(`complex64[1] c = {1,2}, complex128[1] cc = {1,-2},`, "", `, alpha: float = 0.5`, "", `<float[N] u> `, "").Replace(allTypes)
	text(t, python, "parse", write("printable.txt", lines), at("printable.onnx"))
	text(t, python, "print", at("printable.onnx"), at("printed.txt"))
	printed, err := os.ReadFile(at("printed.txt"))
	if err != nil {
		t.Fatal(err)
	}
	write("reread.onnx", string(mustEncode(t, mustParse(t, string(printed)))))
	text(t, python, "equal", at("printable.onnx"), at("reread.onnx"))
}

// Every real network prints, and the small ones survive their own text.
func TestTextNetworks(t *testing.T) {
	for _, nn := range testenv.Models(t) {
		m, err := Load(nn.Path)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Text(); len(got) > 100_000 {
			t.Errorf("%s: the abbreviated text has %d bytes", nn.Name, len(got))
		}
		if info, err := os.Stat(nn.Path); err != nil || info.Size() > 2<<20 {
			continue // the text of the large ones takes seconds
		}
		full := m.FullText()
		if mustParse(t, full).FullText() != full {
			t.Errorf("%s: the text gives another model", nn.Name)
		}
	}
}

func TestParseErrors(t *testing.T) {
	const header = "<ir_version: 10, opset_import: [\"\" : 21]>\n"
	for text, want := range map[string]string{
		"":                      `line 1, column 1: "<" expected`,
		"<foo: 1> g":            `unknown key "foo"`,
		header + "g (float[N":   `line 2`,
		header + "g () => () {": `a name expected`,
		header + `g () => () <float[2] w = {1}> {}`:                      `tensor "w" has 1 elements, its shape [2] asks for 2`,
		header + `g () => () <float[2] w = {...}> {}`:                    `abbreviated`,
		header + `g () => () <int4[1] w = {9}> {}`:                       `9 is not a value of int4`,
		header + `g () => () <float[N] w = {9}> {}`:                      `numbers as dimensions`,
		header + `g () => () { y = A <x = []> () }`:                      `needs a type: write x: ints = []`,
		header + `g () => () { y = A <x = [1, "a"]> () }`:                `mixes types`,
		header + `g () => () { y = A <x: int = 1.5> () }`:                `declared int and its value is float`,
		header + `g () => () { y = A (nothing) }`:                        `input "nothing" is given by no node`,
		header + `g () => () { y = A <s = "abc> () }`:                    `a string does not end`,
		`<producer_name: "x\`:                                            `a string does not end`,
		header + `g () => () {} x`:                                       `the end expected`,
		header + "g (" + strings.Repeat("seq(", 1000) + "float":          `nested more than`,
		header + strings.Repeat("g () => () { y = A <b = ", 1000):        `nested more than`,
		header + `g () => () <int64[1] w = {99999999999999999999999}>{}`: `is not a value of int64`,
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
}

// onnx reads the packed elements that we write as the numbers of the text.
func TestSubByteUpstream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := mustParse(t, subByte).Save(path); err != nil {
		t.Fatal(err)
	}
	const script = `
import sys, onnx
want = {"a": [1, -8, 7], "b": [1, 15, 0], "c": [1, -2, 0, -1, 1], "d": [3, 2, 1, 0, 3], "e": [0.5, -6, 0]}
for t in onnx.load(sys.argv[1]).graph.initializer:
    if t.name in want:
        got = onnx.numpy_helper.to_array(t).astype(float).tolist()
        assert got == want.pop(t.name), (t.name, got)
assert not want, want
`
	if out, err := exec.Command(testenv.Python(t), "-c", script, path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
