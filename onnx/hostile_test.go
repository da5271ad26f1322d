package onnx

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
)

// field is a length-delimited protobuf field.
func field(number int, content []byte) []byte {
	b := binary.AppendUvarint(nil, uint64(number)<<3|2)
	b = binary.AppendUvarint(b, uint64(len(content)))
	return append(b, content...)
}

// varint is a protobuf field of a number.
func varint(number int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(number)<<3), v)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// load reads bytes as a file, and fails when an error is not one line that
// names the file.
func load(t *testing.T, data []byte) (*Model, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hostile.onnx")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := Load(path)
	if err != nil && (!strings.HasPrefix(err.Error(), path+": ") || strings.Contains(err.Error(), "\n")) {
		t.Errorf("unclear error: %q", err)
	}
	return m, err
}

// A network cut off anywhere is an error, but for the end of a top-level field
// behind the graph, where what is left is a whole model.
func TestTruncated(t *testing.T) {
	data, err := os.ReadFile(testenv.ModelNamed(t, "ESRGAN_slim_x2").Path)
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	rng := rand.New(rand.NewPCG(1, 2))
	cuts := []int{0, 1, 2, len(data) - 1}
	for range 300 {
		cuts = append(cuts, rng.IntN(len(data)), rng.IntN(4096), len(data)-1-rng.IntN(200))
	}
	for _, n := range cuts {
		if _, err := Decode(data[:n]); err == nil {
			accepted++
		}
	}
	if accepted > len(cuts)/4 {
		t.Errorf("%d of %d truncated files are taken", accepted, len(cuts))
	}
	if _, err := load(t, data[:len(data)/2]); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("half a file: %v", err)
	}
	if _, err := load(t, nil); err == nil || !strings.Contains(err.Error(), "no graph") {
		t.Errorf("empty file: %v", err)
	}
	huge := filepath.Join(t.TempDir(), "huge.onnx") // a sparse file
	if err := os.WriteFile(huge, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Skip(err)
	}
	if _, err := Load(huge); err == nil || !strings.Contains(err.Error(), "an ONNX file can have 2 GiB") {
		t.Errorf("huge file: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("folder: %v", err)
	}
}

// A nest of fields, as deep as a file of 50 MB can make it, is refused before
// the decoder recurses.
func TestDeepNesting(t *testing.T) {
	// Each round wraps what is there in the fields of a path.
	nest := func(content []byte, depth int, path ...int) []byte {
		reversed := make([]byte, 0, depth*20)
		put := func(b []byte) {
			for i := len(b) - 1; i >= 0; i-- {
				reversed = append(reversed, b[i])
			}
		}
		put(content)
		var header []byte
		for i := range depth * len(path) {
			n := path[len(path)-1-i%len(path)]
			header = binary.AppendUvarint(header[:0], uint64(n)<<3|2)
			put(binary.AppendUvarint(header, uint64(len(reversed))))
		}
		for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
			reversed[i], reversed[j] = reversed[j], reversed[i]
		}
		return reversed
	}
	const deep = 200_000
	for name, data := range map[string][]byte{
		"subgraphs":           field(7, nest(nil, deep, 1, 5, 6)),
		"lists of graphs":     field(7, nest(nil, deep, 1, 5, 11)),
		"sequences":           field(7, field(11, field(2, nest(nil, deep, 4, 1)))),
		"maps":                field(7, field(12, field(2, nest(nil, deep, 5, 2)))),
		"optionals":           field(7, field(13, field(2, nest(nil, deep, 9, 1)))),
		"attribute types":     field(7, field(1, field(5, field(14, nest(nil, deep, 4, 1))))),
		"function":            field(25, field(7, field(5, field(6, nest(nil, deep, 1, 5, 6))))),
		"function attributes": field(25, field(11, field(6, nest(nil, deep, 1, 5, 6)))),
		"function values":     field(25, field(12, field(2, nest(nil, deep, 4, 1)))),
		"training":            field(20, field(1, nest(nil, deep, 1, 5, 6))),
	} {
		if _, err := load(t, data); err == nil || !strings.Contains(err.Error(), "nested more than 64 deep") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// 50 levels of subgraphs are taken.
	if _, err := load(t, field(7, nest(nil, 50, 1, 5, 6))); err != nil {
		t.Error(err)
	}
	// Unknown groups are skipped without recursion.
	if _, err := load(t, bytes.Repeat([]byte{100<<3&0x7f | 0x80 | 3, 6}, deep)); err == nil {
		t.Error("unclosed groups are taken")
	}
}

// An attacker's small file does not make a large model.
func TestMemoryIsBounded(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty nodes":        field(7, bytes.Repeat(field(1, nil), 5<<20)),
		"empty attributes":   field(7, field(1, bytes.Repeat(field(5, nil), 5<<20))),
		"empty initializers": field(7, bytes.Repeat(field(5, nil), 5<<20)),
		"empty inputs":       field(7, field(1, bytes.Repeat(field(1, nil), 5<<20))),
		"empty entries":      field(7, field(5, bytes.Repeat(field(13, nil), 5<<20))),
		"dimensions":         field(7, field(11, field(2, field(1, field(2, bytes.Repeat(field(1, nil), 5<<20)))))),
		"strings":            field(7, field(1, field(5, bytes.Repeat(field(9, nil), 5<<20)))),
		"functions":          bytes.Repeat(field(25, nil), 5<<20),
		"opsets":             bytes.Repeat(field(8, nil), 5<<20),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode(data)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "no network has as many") {
			t.Errorf("%s: %v", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", name, used)
		}
	}
}

func TestHostileTensors(t *testing.T) {
	tensor := func(parts ...[]byte) []byte {
		return field(7, field(5, join(append(parts, field(8, []byte("w")))...)))
	}
	dim := func(d int64) []byte { return varint(1, uint64(d)) }
	typ := func(v uint64) []byte { return varint(2, v) }
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"huge dimension":      {tensor(dim(math.MaxInt64), typ(1)), "too large"},
		"overflowing product": {tensor(dim(1<<32), dim(1<<32), typ(1)), "too large"},
		"overflowing bits":    {tensor(dim(math.MaxInt64/16), typ(15)), "0 bytes of data"},
		"negative dimension":  {tensor(dim(-1), typ(1)), "negative dimension"},
		"too little data":     {tensor(dim(3), typ(1), field(9, make([]byte, 8))), "8 bytes of data, float[3] needs 12"},
		"too much data":       {tensor(dim(1), typ(1), field(9, make([]byte, 8))), "8 bytes of data, float[1] needs 4"},
		"missing strings":     {tensor(dim(1<<40), typ(8)), "0 strings"},
		"unknown type":        {tensor(typ(99)), "unknown element type 99"},
		"no type":             {tensor(), "unknown element type 0"},
		"packed 4 bits":       {tensor(dim(3), typ(22), field(5, []byte{1})), "1 bytes of data, int4[3] needs 2"},
	} {
		if _, err := load(t, c.data); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `tensor "w"`) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestHostileGraphs(t *testing.T) {
	const header = `<ir_version: 10, opset_import: ["" : 21]> g `
	for text, want := range map[string]string{
		`(float[1] x, float[1] x) => () {}`:                             `two inputs named "x"`,
		`() => () { y = A () y = B () }`:                                `node B "y": the name "y" is given to two values`,
		`(float[1] x) => () { x = A () }`:                               `the name "x" is given to two values`,
		`() => () { y, y = A () }`:                                      `the name "y" is given to two values`,
		`() => () <float w = {1}, float w = {2}> {}`:                    `two initializers named "w"`,
		`() => (float y) {}`:                                            `no node gives the output "y"`,
		`() => () { y = A (z) }`:                                        `node A "y": input "z" is given by no node`,
		`() => () { y = A () <b = s () => () { p = B (q) }> }`:          `node B "p": input "q" is given by no node`,
		`() => () { y = A () <b = s () => () { p = B () }> z = C (p) }`: `input "p" is given by no node`,
		`() => () <float "" = {1}> {}`:                                  `without a name`,
	} {
		if _, err := Parse(header + text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// Fields of later versions of the format survive at every level.
func TestUnknownFieldsSurvive(t *testing.T) {
	var marks [][]byte
	unknown := func() []byte {
		mark := field(3000, []byte("mark "+string(rune('A'+len(marks)))))
		marks = append(marks, mark)
		return mark
	}
	str := func(n int, s string) []byte { return field(n, []byte(s)) }
	prop := func(n int) []byte { return field(n, join(str(1, "key"), str(2, "value"), unknown())) }
	opset := func(n int) []byte { return field(n, join(str(1, ""), varint(2, 21), unknown())) }
	typ := func(n int, size []byte) []byte {
		dims := join(field(1, join(size, str(3, "DATA_BATCH"), unknown())), unknown())
		return field(n, join(field(1, join(varint(1, 1), field(2, dims), unknown())), str(6, "IMAGE"), unknown()))
	}
	info := func(n int, name string) []byte {
		size := str(2, "N")
		if name == "k" || name == "w" { // initializers
			size = varint(1, 1)
		}
		return field(n, join(str(1, name), typ(2, size), str(3, "doc of "+name), prop(4), unknown()))
	}
	tensor := func(n int, name string) []byte {
		return field(n, join(varint(1, 1), varint(2, 1), str(8, name), field(9, make([]byte, 4)), str(12, "doc"), prop(16), unknown()))
	}
	sub := func(n int) []byte {
		return field(n, join(str(2, "sub"), tensor(5, "k"), info(12, "k"), unknown()))
	}
	attribute := func(parts ...[]byte) []byte {
		return field(5, join(append(parts, str(13, "doc"), unknown())...))
	}
	sparse := func(n int, name string) []byte {
		return field(n, join(tensor(1, name), field(2, join(varint(1, 0), varint(2, 7), field(9, nil))), varint(3, 4), unknown()))
	}
	node := func(n int, in, out string) []byte {
		return field(n, join(str(1, in), str(2, out), str(4, "Custom"),
			attribute(str(1, "i"), varint(3, 0), varint(20, 2)),
			attribute(str(1, "g"), sub(6), varint(20, 5)),
			attribute(str(1, "t"), tensor(5, "t"), varint(20, 4)),
			attribute(str(1, "ts"), tensor(10, "t"), varint(20, 9)),
			attribute(str(1, "gs"), sub(11), varint(20, 10)),
			attribute(str(1, "st"), sparse(22, ""), varint(20, 11)),
			attribute(str(1, "tp"), typ(14, str(2, "N")), varint(20, 13)),
			str(6, "doc"), prop(9), field(10, join(str(1, "device"), unknown())), unknown()))
	}
	graph := join(node(1, "x", "y"), node(1, "y", "z"), str(2, "g"), tensor(5, "w"), str(10, "doc"),
		info(11, "x"), info(12, "z"), info(13, "y"), info(13, "w"), info(13, "nothing"),
		field(14, join(str(1, "y"), prop(2), unknown())), sparse(15, "s"), prop(16), unknown())
	training := field(20, join(sub(1), sub(2), prop(3), prop(4), unknown()))
	function := field(25, join(str(1, "F"), str(4, "a"), str(5, "b"), str(6, "must"), node(7, "a", "b"), str(8, "doc"),
		opset(9), str(10, "f"), field(11, join(str(1, "may"), varint(3, 1), varint(20, 2), unknown())), info(12, "b"), prop(14), unknown()))
	data := join(varint(1, 10), str(2, "producer"), str(6, "doc"), field(7, graph), opset(8), prop(14), training, function,
		field(26, join(str(1, "configuration"), varint(2, 1), unknown())), unknown())

	m, err := load(t, data)
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*Model{"saved": m, "cloned": m.Clone()} {
		saved := mustEncode(t, m)
		for i, mark := range marks {
			if !bytes.Contains(saved, mark) {
				t.Errorf("%s: mark %d of %d is lost", name, i, len(marks))
			}
		}
		for _, kept := range []string{"DATA_BATCH", "IMAGE", "doc of nothing", "configuration", "device"} {
			if !bytes.Contains(saved, []byte(kept)) {
				t.Errorf("%s: %q is lost", name, kept)
			}
		}
		if len(saved) != len(data) {
			t.Errorf("%s: %d bytes, %d before", name, len(saved), len(data))
		}
	}
}

// Whatever a file holds, loading it gives a model that can be used or an error.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{allTypes, subByte, nested} {
		f.Add(mustEncode(f, mustParse(f, text)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			return
		}
		exercise(t, m)
	})
}

// exercise does to a model everything that this package can.
func exercise(t *testing.T, m *Model) {
	again, err := Decode(mustEncode(t, m))
	if err != nil {
		t.Fatalf("a model that was decoded does not decode again: %v", err)
	}
	_ = again.FullText()
	_ = m.Text()
	_ = m.Check()
	_ = again.Graph.Sort()
	if Inline(again) == nil {
		_ = again.FullText()
		_ = mustEncode(t, again)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{allTypes, subByte, nested} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := Parse(text); err == nil {
			exercise(t, m)
		}
	})
}

// Flipped bits in a small network.
func TestFlippedBytes(t *testing.T) {
	data := mustEncode(t, mustParse(t, nested))
	rng := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		broken := bytes.Clone(data)
		for range 1 + rng.IntN(4) {
			broken[rng.IntN(len(broken))] = byte(rng.Uint32())
		}
		if m, err := Decode(broken); err == nil {
			exercise(t, m)
		}
	}
}
