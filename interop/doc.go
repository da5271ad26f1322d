// Package interop holds tests that run what this program emits in ONNX Runtime
// and compare it with the program's own runtime. The Python scripts beside them
// are the other side; `make venv` installs what they need.
package interop
