//go:build unix

// Package peer runs networks in runtimes that this project did not write: ONNX
// Runtime, OpenVINO, tract, onnx.reference and, in a browser, ONNX Runtime Web.
// Each is a process of its own (interop/serve.py, interop/web/drive.mjs) that is
// told in lines of JSON what to do, so that runtimes can take turns and one that
// crashes takes nothing else along. It is for tests.
package peer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/daq-sr/daq/internal/npy"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/runtime"
)

// patience is how long a runtime may take for one answer.
const patience = 5 * time.Minute

// Runtime is a program that runs ONNX, and where it is installed.
type Runtime struct {
	Name   string // as tables show it
	Engine string // as serve.py knows it: ort, openvino, tract, reference; or web
	Python string // interpreter of its virtual environment, "" for web

	Through []string // command that runs the Python, such as an emulator; usually empty
}

// Environment returns the Python of a virtual environment of the checkout.
func Environment(name string) string {
	return filepath.Join(testenv.Root(), name, "bin", "python")
}

// Options say how a network is run.
type Options struct {
	Threads int    // 0 means 1
	Level   string // of ONNX Runtime's optimizations: all (the default), extended, basic, disabled
}

// Process is a runtime that waits for commands. One goroutine may use it.
type Process struct {
	Version string // what the runtime says it is

	runtime Runtime
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *os.File
	answers *json.Decoder
	said    *tail  // end of what it wrote to stderr
	dir     string // of tensors on their way
	site    *site  // what a browser sees of the files; nil elsewhere
}

// Session is a network that is loaded and has run once.
type Session struct {
	Output *runtime.Tensor // of that run, in float

	// Nodes are the graph that the runtime has made of the network. Empty for
	// runtimes that do not tell.
	Nodes     []Node
	Operators Operators // counts the nodes

	process *Process
	id      int
}

// Start starts a runtime. What cannot be had (no virtual environment, no browser)
// is an error that names it.
func Start(r Runtime) (*Process, error) {
	p := &Process{runtime: r, said: &tail{}}
	var err error
	if p.dir, err = os.MkdirTemp("", "daq-peer-"); err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		p.clean()
		return nil, fmt.Errorf("%s: %w", r.Name, err)
	}
	return p, nil
}

func (p *Process) start() (err error) {
	if p.runtime.Engine == "web" {
		if p.site, p.cmd, err = browse(); err != nil {
			return err
		}
	} else {
		args := slices.Concat(p.runtime.Through, []string{p.runtime.Python, filepath.Join(testenv.Root(), "interop", "serve.py"), p.runtime.Engine})
		p.cmd = exec.Command(args[0], args[1:]...)
	}
	p.cmd.Stderr = p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that kill reaches the browser
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	p.cmd.Stdout, p.out, p.answers = to, from, json.NewDecoder(from)
	err = p.cmd.Start()
	to.Close()
	if err != nil {
		return err
	}
	a, err := p.hear()
	p.Version = a.Version
	return err
}

// Open loads a network, runs it once and keeps its output. Errors are the
// runtime's own words.
func (p *Process) Open(model string, input *runtime.Tensor, o Options) (*Session, error) {
	in, out := filepath.Join(p.dir, "input.npy"), filepath.Join(p.dir, "output.npy")
	if err := npy.Write(in, input.Shape, input.Data.([]float32)); err != nil {
		return nil, err
	}
	command := map[string]any{"open": model, "input": in, "output": out, "threads": max(1, o.Threads), "level": o.Level}
	if p.site != nil {
		command["open"], command["input"] = p.site.publish(model), p.site.publish(in)
	}
	a, err := p.ask(command)
	if err != nil {
		return nil, err
	}
	shape, data, err := npy.Read(out)
	if err != nil {
		return nil, err
	}
	s := &Session{process: p, id: a.ID, Nodes: a.Nodes, Operators: Operators{}}
	for _, n := range a.Nodes {
		s.Operators[n.Op]++
	}
	s.Output, err = runtime.Of(shape, data)
	return s, err
}

// Run runs the network again on the same input and returns the time that passed
// and that of all threads, as the runtime's process measured them.
func (s *Session) Run() (wall, cpu time.Duration, err error) {
	a, err := s.process.ask(map[string]any{"run": s.id})
	return seconds(a.Wall), seconds(a.CPU), err
}

// Close forgets the network.
func (s *Session) Close() error {
	_, err := s.process.ask(map[string]any{"close": s.id})
	return err
}

// End waits for the process, which ends with its input, and returns the most
// memory it had resident, in bytes.
func (p *Process) End() (int64, error) {
	defer p.clean()
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%s: %w%s", p.runtime.Name, err, p.said)
	}
	return PeakMemory(p.cmd), nil
}

// kill ends a process that has failed.
func (p *Process) kill() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	p.in.Close()
	p.cmd.Wait()
}

func (p *Process) clean() {
	if p.out != nil {
		p.out.Close()
	}
	if p.site != nil {
		p.site.close()
	}
	os.RemoveAll(p.dir)
}

type answer struct {
	Version   string
	ID        int
	Nodes     []Node
	Wall, CPU float64 // seconds
	Error     string
}

// ErrDead is what a process is after it has crashed or gone silent.
var ErrDead = errors.New("the runtime has died")

func (p *Process) ask(command map[string]any) (answer, error) {
	line, err := json.Marshal(command)
	if err != nil {
		return answer{}, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return answer{}, fmt.Errorf("%s: %w: %w", p.runtime.Name, ErrDead, err)
	}
	return p.hear()
}

func (p *Process) hear() (answer, error) {
	var a answer
	p.out.SetReadDeadline(time.Now().Add(patience))
	if err := p.answers.Decode(&a); err != nil {
		p.kill()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return a, fmt.Errorf("%s: %w: no answer in %s%s", p.runtime.Name, ErrDead, patience, p.said)
		}
		return a, fmt.Errorf("%s: %w (%s)%s", p.runtime.Name, ErrDead, p.cmd.ProcessState, p.said)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", p.runtime.Name, a.Error)
	}
	return a, nil
}

// PeakMemory returns the most memory that a process which has ended had resident,
// in bytes.
func PeakMemory(cmd *exec.Cmd) int64 {
	n := int64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	if goruntime.GOOS == "darwin" { // bytes there, elsewhere units of 1024
		return n
	}
	return 1024 * n
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 2000
	t.text = append(t.text, p...)
	if len(t.text) > most {
		t.text = t.text[len(t.text)-most:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	if s := strings.TrimSpace(string(t.text)); s != "" {
		return ": " + s
	}
	return ""
}
