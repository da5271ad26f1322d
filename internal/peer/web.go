//go:build unix

package peer

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync"

	"github.com/daq-sr/daq/internal/testenv"
)

// site serves interop/web, ONNX Runtime Web and the files of a test on the
// loopback interface.
type site struct {
	url    string
	server *http.Server

	mu    sync.Mutex
	files map[string]string // by URL path
}

// browse opens the site and returns the command that opens it in a browser.
func browse() (*site, *exec.Cmd, error) {
	page := filepath.Join(testenv.Root(), "interop", "web")
	modules := filepath.Join(page, "node_modules")
	for _, name := range []string{"onnxruntime-web", "playwright-core"} {
		if _, err := os.Stat(filepath.Join(modules, name)); err != nil {
			return nil, nil, fmt.Errorf("npm's %s is not installed (%w): run `make runtimes`", name, err)
		}
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, nil, err
	}
	browser, err := exec.LookPath("chromium")
	if err != nil {
		return nil, nil, fmt.Errorf("%w: install Debian's chromium", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	s := &site{url: "http://" + listener.Addr().String(), files: map[string]string{}}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(page)))
	mux.Handle("/ort/", http.StripPrefix("/ort/", http.FileServer(http.Dir(filepath.Join(modules, "onnxruntime-web", "dist")))))
	mux.HandleFunc("/files/", s.serve)
	s.server = &http.Server{Handler: mux}
	go s.server.Serve(listener)
	return s, exec.Command(node, filepath.Join(page, "drive.mjs"), browser, s.url), nil
}

// publish makes a file known under an address, which it returns.
func (s *site) publish(file string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := path.Join("/files", fmt.Sprint(len(s.files)), filepath.Base(file))
	s.files[at] = file
	return s.url + at
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	file, ok := s.files[r.URL.Path]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeFile(w, r, file)
}

func (s *site) close() { s.server.Close() }

// Enlarge lets the page enlarge a picture, as a visitor would: it chooses the
// files, presses the button and saves the canvas as out, a PNG file. white is the
// value of white at the network's input.
func (p *Process) Enlarge(network, picture string, white float32, out string) error {
	_, err := p.ask(map[string]any{"enlarge": picture, "network": network, "white": white, "output": out})
	return err
}
