package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/daq-sr/daq/converter"
)

// terminal is where commands write, and the flags that all of them have.
type terminal struct {
	out, err io.Writer
	threads  int
	quiet    bool
}

// note writes a line for a person beside the result.
func (t *terminal) note(format string, args ...any) {
	if !t.quiet {
		fmt.Fprintf(t.err, "note: "+format+"\n", args...)
	}
}

// table writes rows with aligned columns; a tab ends a cell.
func (t *terminal) table(write func(w io.Writer)) error {
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	write(w)
	return w.Flush()
}

// json writes a value as indented JSON.
func (t *terminal) json(v any) error {
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// progress returns a function that draws bars, one for each stage, and one that
// takes the last bar away. Where nobody would see them both do nothing.
func (t *terminal) progress(silent bool) (converter.Progress, func()) {
	f, ok := t.err.(*os.File)
	if silent || t.quiet || !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	var bar *progressbar.ProgressBar
	stage := ""
	clear := func() {
		if bar != nil {
			bar.Clear()
			bar = nil
		}
	}
	return func(name string, done, total int) {
		if total < 2 {
			return // over before anyone could look
		}
		if name != stage || bar == nil {
			clear()
			stage = name
			bar = progressbar.NewOptions(total,
				progressbar.OptionSetWriter(f),
				progressbar.OptionSetDescription(name),
				progressbar.OptionSetWidth(30),
				progressbar.OptionShowCount(),
				progressbar.OptionSetPredictTime(true),
				progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionSetRenderBlankState(true),
			)
		}
		bar.Set(done)
	}, clear
}
