package passes

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

const header = `<ir_version: 10, opset_import: ["" : 21]> `

// rewrite is a graph before and after a pass, without the header.
type rewrite struct{ name, before, after string }

func parse(t *testing.T, text string) *onnx.Model {
	t.Helper()
	if !strings.HasPrefix(text, "<") {
		text = header + text
	}
	m, err := onnx.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// inferredText is the graph with all types, so that both sides of a comparison
// say the same.
func inferredText(t *testing.T, m *onnx.Model) string {
	t.Helper()
	if err := onnx.Infer(m); err != nil {
		t.Fatal(err)
	}
	return m.Text()
}

// checkRewrites runs the pass on each graph and compares the text; what the pass
// leaves alone has the same text after as before. Graphs it changes run in ONNX
// Runtime, where both sides must agree.
func checkRewrites(t *testing.T, pass Pass, list []rewrite) {
	t.Helper()
	var pairs []string
	dir := t.TempDir()
	for _, r := range list {
		t.Run(r.name, func(t *testing.T) {
			m := parse(t, r.before)
			changes, err := pass.Run(context.Background(), m)
			if err != nil {
				t.Fatal(err)
			}
			if (changes > 0) != (r.after != r.before) {
				t.Errorf("%d changes", changes)
			}
			m.Graph.DropUnused()
			if err := m.Graph.Sort(); err != nil {
				t.Fatal(err)
			}
			if got, want := inferredText(t, m), inferredText(t, parse(t, r.after)); got != want {
				t.Errorf("the pass gives\n%s\nwant\n%s", got, want)
			}
			if r.after != r.before {
				pairs = append(pairs, save(t, parse(t, r.before), filepath.Join(dir, fmt.Sprint(len(pairs)))),
					save(t, m, filepath.Join(dir, fmt.Sprint(len(pairs)+1))))
			}
		})
	}
	for i, d := range compareModels(t, pairs, "--size", "8x6", "--low", "-0.5", "--check") {
		if d.Relative > 1e-6 {
			t.Errorf("changed graph %d differs by %g of its range in ONNX Runtime", i, d.Relative)
		}
	}
}

func TestRepeatNamesThePass(t *testing.T) {
	broken := Pass{"broken", func(context.Context, *onnx.Model) (int, error) { return 0, errors.New("no luck") }}
	restless := Pass{"restless", func(context.Context, *onnx.Model) (int, error) { return 1, nil }}
	m := parse(t, `g (float[1] x) => (y) { y = Relu (x) }`)
	if _, err := Repeat(context.Background(), m, broken); err == nil || err.Error() != "pass broken: no luck" {
		t.Errorf("error %v", err)
	}
	if _, err := Repeat(context.Background(), m, restless); err == nil || !strings.Contains(err.Error(), "100 restless") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Simplify(ctx, m); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
