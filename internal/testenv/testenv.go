// Package testenv finds what tests need from outside the checkout: the shared
// folder of real networks and photographs, and a Python with ONNX Runtime. A
// test that cannot have it is skipped with a line that says why, except under
// CI=true, where a missing tool is a failure.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Model is one of the real networks of shared/data/models.
type Model struct {
	Name  string  // file name without .onnx
	Path  string  // absolute path
	Scale int     // upscaling factor of the network
	Range float32 // largest input value: 1 or 255
	Y     bool    // single luma channel
	PSNR  float64 // PSNR-Y on Set5 in dB, as the data README states it
}

var networks = []Model{
	{Name: "EDSR_x2", Scale: 2, Range: 1, PSNR: 37.80},
	{Name: "SRResNet_x4", Scale: 4, Range: 1, PSNR: 31.88},
	{Name: "RDN_x2", Scale: 2, Range: 1, PSNR: 36.65},
	{Name: "CARN_x2", Scale: 2, Range: 1, PSNR: 37.88},
	{Name: "CARN_M_x4", Scale: 4, Range: 1, PSNR: 31.88},
	{Name: "WDSRb8_x2", Scale: 2, Range: 1, PSNR: 37.84},
	{Name: "RLFN_x2", Scale: 2, Range: 255, PSNR: 38.07},
	{Name: "RFDN_x4", Scale: 4, Range: 255, PSNR: 32.16},
	{Name: "FMEN_x4", Scale: 4, Range: 255, PSNR: 32.03},
	{Name: "IMDN_x4", Scale: 4, Range: 1, PSNR: 32.21},
	{Name: "PAN_x4", Scale: 4, Range: 1, PSNR: 32.13},
	{Name: "VDSR_Y_x1", Scale: 1, Range: 1, Y: true, PSNR: 37.61},
	{Name: "LapSRN_Y_x2", Scale: 2, Range: 1, Y: true, PSNR: 37.33},
	{Name: "ESRGAN_slim_x2", Scale: 2, Range: 1, PSNR: 33.43},
}

// Root returns the root folder of the checkout.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Shared returns the folder of shared data, DAQ_SHARED or ../shared.
func Shared(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("DAQ_SHARED")
	if dir == "" {
		dir = filepath.Join(Root(), "..", "shared")
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "models")); err != nil {
		missing(t, "shared data not found (%v): set DAQ_SHARED", err)
	}
	return dir
}

// Models returns the real networks of the shared folder.
func Models(t testing.TB) []Model {
	t.Helper()
	dir := filepath.Join(Shared(t), "data", "models")
	models := make([]Model, len(networks))
	for i, m := range networks {
		m.Path = filepath.Join(dir, m.Name+".onnx")
		models[i] = m
	}
	return models
}

// ModelNamed returns one real network.
func ModelNamed(t testing.TB, name string) Model {
	t.Helper()
	for _, m := range Models(t) {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("testenv: no network %q", name)
	return Model{}
}

// Python returns a Python interpreter that can import onnx, numpy and
// onnxruntime: DAQ_PYTHON, or the virtual environment that `make venv` creates.
func Python(t testing.TB) string {
	t.Helper()
	python := os.Getenv("DAQ_PYTHON")
	if python == "" {
		python = filepath.Join(Root(), ".venv", "bin", "python")
	}
	if out, err := exec.Command(python, "-c", "import onnx, onnxruntime, numpy").CombinedOutput(); err != nil {
		missing(t, "python with onnxruntime not found (%v %s): run `make venv` or set DAQ_PYTHON", err, out)
	}
	return python
}

func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
