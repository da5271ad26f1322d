//go:build !amd64 || purego

package kernels

import "testing"

func eachIntLevel(t *testing.T, f func(t *testing.T)) { f(t) }
