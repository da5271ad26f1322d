//go:build runtimes && unix

package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/daq-sr/daq/onnx"
)

// line is a cell in words.
func (c cell) line() string {
	if c.Error != "" {
		return "fails: " + c.Error
	}
	return fmt.Sprintf("%.1f ms, %.2f times as fast as float; %.2f dB (%.2f dB here), differs by %.3f levels; %d integer operators, %d of %d convolutions",
		c.MS, c.Speed, c.PSNR, c.OurPSNR, c.Levels, c.Integer, c.IntegerConvs, c.Convs)
}

// write saves the tables and the cells.
func (m *matrix) write() {
	b, err := json.MarshalIndent(m.cells, "", " ")
	if err != nil {
		m.Fatal(err)
	}
	for name, content := range map[string][]byte{"interop.txt": []byte(m.text()), "interop.json": append(b, '\n')} {
		if err := os.WriteFile(filepath.Join(m.dir, name), content, 0o666); err != nil {
			m.Fatal(err)
		}
	}
}

// text has one table for each form: networks down, runtimes across.
func (m *matrix) text() string {
	var b strings.Builder
	fmt.Fprint(&b, "Runtimes:")
	for _, c := range m.columns {
		if c.process != nil {
			fmt.Fprintf(&b, " %s (%s)", c.Name, c.process.Version)
		} else {
			fmt.Fprintf(&b, " %s (missing: %v)", c.Name, c.missing)
		}
	}
	fmt.Fprint(&b, "\nA cell: how many times as fast as the float network in the same runtime (processor time on one thread, in turns; ok where it is not timed),",
		"\ninteger convolutions of all where the runtime tells, ! when it disagrees with our runtime, a letter where it does not load.",
		"\nPSNR-Y of one picture, as our runtime makes it; levels: the largest difference of any runtime to ours, of 8 bits.\n")
	for _, f := range m.forms {
		m.table(&b, f)
	}
	return b.String()
}

func (m *matrix) table(b *strings.Builder, f form) {
	fmt.Fprintf(b, "\n%s\n", f.name)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "network\tPSNR-Y\tlevels")
	for _, c := range m.columns {
		fmt.Fprint(w, "\t", c.Name)
	}
	fmt.Fprintln(w)
	var reasons []string
	for _, network := range m.networks {
		quality, levels := "", 0.0
		var row strings.Builder
		for _, c := range m.columns {
			r, ok := m.find(network, f.name, c.Name)
			switch {
			case !ok:
				row.WriteString("\t")
			case r.Error != "":
				fmt.Fprintf(&row, "\t%c", 'a'+reason(&reasons, r))
			default:
				row.WriteString("\t" + r.short())
				levels = max(levels, r.Levels)
				if c.most == m.columns[0].most {
					quality = fmt.Sprintf("%.2f", r.OurPSNR)
				}
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%.2f%s\n", network, quality, levels, row.String())
	}
	w.Flush()
	for i, text := range reasons {
		fmt.Fprintf(b, "%c: %s\n", 'a'+i, text)
	}
}

func (c cell) short() string {
	s := "ok"
	switch {
	case c.MS > 0 && c.Form == "float":
		s = fmt.Sprintf("%.0f ms", c.MS)
	case c.Speed > 0:
		s = fmt.Sprintf("%.2fx", c.Speed)
	}
	if c.IntegerConvs > 0 {
		s += fmt.Sprintf(" %d/%d", c.IntegerConvs, c.Convs)
	}
	if !c.Agrees {
		s += "!"
	}
	return s
}

// reason returns the index of what a runtime said among the reasons so far. Names
// of nodes and numbers do not make another reason.
func reason(reasons *[]string, c cell) int {
	text := strings.Join(strings.Fields(c.Error), " ")
	if len(text) > 300 {
		text = text[:300] + " ..."
	}
	for i, r := range *reasons {
		if kind(r) == kind(text) {
			return i
		}
	}
	*reasons = append(*reasons, text)
	return len(*reasons) - 1
}

func kind(text string) string {
	k := particular.ReplaceAllString(text, "")
	return k[:min(len(k), 90)]
}

var particular = regexp.MustCompile(`"[^"]*"|'[^']*'|\([^)]*\)|\d+`)

func (m *matrix) find(network, form, runtime string) (cell, bool) {
	for _, c := range m.cells {
		if c.Network == network && c.Form == form && c.Runtime == runtime {
			return c, true
		}
	}
	return cell{}, false
}

func save(model *onnx.Model, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return model.Save(path)
}
