package calib

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/quant"
)

func small(t testing.TB, names ...string) *Profile {
	t.Helper()
	p := NewProfile("beef", 255)
	for _, name := range names {
		if err := p.AddImage(Source{name, "d"}); err != nil {
			t.Fatal(err)
		}
		s, err := p.Tensor("t", quant.Signed, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Observe([]float32{1, -2, 3, 4, 5, 60}, 3); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p")
	p := small(t, "b", "a")
	if err := p.Save(path); err != nil {
		t.Fatal(err)
	}
	q, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if q.Model != "beef" || q.InputRange != 255 || len(q.Images) != 2 || q.Images[0].Name != "a" {
		t.Errorf("%+v", q)
	}
	if !bytes.Equal(write(t, p), write(t, q)) {
		t.Error("other bytes after loading")
	}
	if err := p.Save(filepath.Join(path, "x")); err == nil {
		t.Error("saved below a file")
	}
}

func TestMergeRefuses(t *testing.T) {
	other := small(t, "b")
	other.Model = "dead"
	white := small(t, "b")
	white.InputRange = 1
	tensor := small(t, "b")
	tensor.Tensors["u"] = NewTensorStats(quant.Signed, 1)
	for _, c := range []struct {
		q    *Profile
		want string
	}{
		{small(t, "a", "c"), "image a is in both"}, {other, "different networks"},
		{white, "input range"}, {tensor, `tensor "u"`},
	} {
		p := small(t, "a")
		before := write(t, p)
		if err := p.Merge(c.q); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v does not say %q", err, c.want)
		}
		if !bytes.Equal(write(t, p), before) {
			t.Errorf("%s: a refused merge changed the profile", c.want)
		}
	}
	p := small(t, "a")
	if err := p.AddImage(Source{"a", "d"}); err == nil {
		t.Error("the same image twice")
	}
	if err := p.AddImage(Source{"z", "d"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Write(io.Discard); err == nil || !strings.Contains(err.Error(), "observed 1 of 2") {
		t.Error(err)
	}
}

// Damaged files give an error, never a panic.
func TestReadDamaged(t *testing.T) {
	good := write(t, small(t, "a", "b"))
	for n := 0; n < len(good); n += 3 {
		if _, err := Read(bytes.NewReader(good[:n])); err == nil {
			t.Fatalf("%d of %d bytes are read", n, len(good))
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(9, 9))
	for range 300 {
		bad := bytes.Clone(text)
		for range 1 + rng.IntN(4) {
			bad[rng.IntN(len(bad))] = "0123456789-p{}[]\",:eE\n"[rng.IntN(22)]
		}
		if p, err := Read(zipped(bad)); err == nil { // still sound
			write(t, p)
			for _, s := range p.Tensors {
				for c := range s.Channels {
					s.Channels[c].All.M2()
					s.Channels[c].Z.Bins()
				}
			}
		}
	}
	for _, c := range []struct{ from, to, want string }{
		{`"version":2`, `"version":9`, "version 9"},
		{`"tensors":1`, `"tensors":2`, "truncated"},
		{`"tensors":1`, `"tensors":0`, "more after"},
		{`"images":2`, `"images":3`, "observed 3 of 2"},
		{`"first":`, `"first":9999999`, "bin beyond"},
		{`"input_range":255`, `"input_range":-1`, "input range"},
		{`"name":"b"`, `"name":"a"`, "twice"},
		{`"channels":[`, `"channels":[],"x":[`, "unknown field"},
	} {
		bad := bytes.Replace(text, []byte(c.from), []byte(c.to), 1)
		if bytes.Equal(bad, text) {
			t.Fatalf("%s is not in the file", c.from)
		}
		if _, err := Read(zipped(bad)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v does not say %q", c.to, err, c.want)
		}
	}
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("no profile"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
}

func zipped(text []byte) io.Reader {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(text)
	z.Close()
	return &b
}

// 64 channels over many images stay below 100 KB.
func TestFileSize(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	p := NewProfile("beef", 1)
	const hw = 4000
	for _, name := range strings.Split("abcdefghijklmnopqrst", "") {
		if err := p.AddImage(Source{name, "d"}); err != nil {
			t.Fatal(err)
		}
		s, err := p.Tensor("t", quant.Signed, 64)
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float32, 64*hw)
		for i := range x {
			x[i] = float32(rng.NormFloat64() * rng.ExpFloat64())
		}
		if err := s.Observe(x, hw); err != nil {
			t.Fatal(err)
		}
	}
	n := len(write(t, p))
	t.Logf("%d bytes", n)
	if n > 100_000 {
		t.Errorf("%d bytes", n)
	}
}
