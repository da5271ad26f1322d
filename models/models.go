// Package models builds well-known super-resolution networks as ONNX graphs
// from a configuration and a state dictionary, and holds the small trained
// network and the photographs that the program ships with.
//
// Every network reads one tensor "input", float[n,c,h,w], and gives "output",
// float[n,c,scale*h,scale*w]. Nodes are named as PyTorch's exporter names them
// ("/body/body.0/conv1/Conv"), initializers as a state dictionary names
// parameters ("body.0.conv1.weight").
package models

import "fmt"

// Opset is the version of the default domain that the networks are built for.
const Opset = 17

// maxBytes is the most that the parameters of a network may take: what fits
// into one ONNX file.
const maxBytes = 2 << 30

// setting is one number of a configuration and the range it may have.
type setting struct {
	name          string
	value, lo, hi int
}

// checkConfig says which setting of a network is out of range.
func checkConfig(network string, scale int, settings ...setting) error {
	if scale != 2 && scale != 3 && scale != 4 && scale != 8 {
		return fmt.Errorf("%s: scale is %d, must be 2, 3, 4 or 8", network, scale)
	}
	for _, s := range settings {
		if s.value < s.lo || s.value > s.hi {
			return fmt.Errorf("%s: %s is %d, must be %d to %d", network, s.name, s.value, s.lo, s.hi)
		}
	}
	return nil
}

// orDefault returns v, or missing when v is zero.
func orDefault(v, missing int) int {
	if v == 0 {
		return missing
	}
	return v
}
