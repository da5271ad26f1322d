package converter

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/daq-sr/daq/internal/npy"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// CompareDump runs a network on an input that another runtime was given and compares
// its tensors with those that this runtime wrote. dir holds one NumPy file (.npy,
// float32, C order) for each tensor, the inputs of the network among them. A file is
// named after its tensor, with % escapes (%2F for a slash) or with _ for everything
// but letters, digits, dot and dash; interop/dump_ort.py writes such a folder.
func CompareDump(ctx context.Context, m *onnx.Model, dir string, threads int) (*Comparison, error) {
	files, err := dumped(dir)
	if err != nil {
		return nil, err
	}
	inlined := m.Clone()
	if err := onnx.Inline(inlined); err != nil {
		return nil, err
	}
	_ = onnx.Infer(inlined) // types help
	inputs := map[string]*runtime.Tensor{}
	for _, v := range inlined.Graph.Inputs {
		if v.Const != nil {
			continue
		}
		path, _ := files.of(v.Name)
		if path == "" {
			return nil, fmt.Errorf("folder %s has no %s.npy: write the input %q of the network too", dir, url.PathEscape(v.Name), v.Name)
		}
		if inputs[v.Name], err = readDumped(path); err != nil {
			return nil, err
		}
	}
	c := &Comparison{Pictures: 1}
	var matches []match
	var names []string
	sums, paths := map[string]*difference{}, map[string]string{}
	for _, v := range floatTensors(inlined.Graph) {
		path, by := files.of(v.Name)
		if path == "" {
			c.Unmatched++
			continue
		}
		matches = append(matches, match{v.Name, strings.TrimSuffix(filepath.Base(path), ".npy"), by})
		names = append(names, v.Name)
		sums[v.Name], paths[v.Name] = &difference{operator: v.Producer.Op, output: v.IsOutput()}, path
	}
	if len(matches) == 0 {
		return nil, fmt.Errorf("no file of folder %s has the name of a tensor of the network", dir)
	}
	program, err := runtime.Compile(m, runtime.Options{Threads: threads, Observe: names})
	if err != nil {
		return nil, err
	}
	_, err = program.Run(ctx, inputs, func(name string, t *runtime.Tensor) error {
		theirs, err := readDumped(paths[name])
		if err == nil {
			sums[name].add(t, theirs)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, match := range matches {
		c.Tensors = append(c.Tensors, sums[match.a].result(match))
	}
	return c, nil
}

// dump is a folder of tensors: paths by what the files are named.
type dump struct{ exact, plain map[string]string }

func dumped(dir string) (*dump, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	d := &dump{map[string]string{}, map[string]string{}}
	for _, e := range entries {
		stem, ok := strings.CutSuffix(e.Name(), ".npy")
		if !ok || e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		d.exact[stem] = path
		if name, err := url.PathUnescape(stem); err == nil {
			d.exact[name], stem = path, name
		}
		d.plain[withoutAffixes(stem)] = path
	}
	if len(d.exact) == 0 {
		return nil, fmt.Errorf("folder %s has no .npy files", dir)
	}
	return d, nil
}

// of returns the file of a tensor and how it was found; "" when there is none.
func (d *dump) of(name string) (path, by string) {
	for _, n := range []string{name, sanitized(name)} {
		if p := d.exact[n]; p != "" {
			return p, byName
		}
	}
	for _, n := range []string{withoutAffixes(name), withoutAffixes(sanitized(name))} {
		if p := d.plain[n]; p != "" {
			return p, bySuffix
		}
	}
	return "", ""
}

func sanitized(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '_'
	}, name)
}

func readDumped(path string) (*runtime.Tensor, error) {
	shape, data, err := npy.Read(path)
	if err != nil {
		return nil, err
	}
	t, err := runtime.Of(shape, data)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s", path), err)
	}
	return t, nil
}
