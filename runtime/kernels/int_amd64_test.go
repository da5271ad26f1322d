//go:build amd64 && !purego

package kernels

import "testing"

func eachIntLevel(t *testing.T, f func(t *testing.T)) {
	best := intLevel
	defer func() { intLevel = best }()
	for level, name := range []string{"go", "avx2", "vnni"} {
		if intLevel = level; level <= best {
			t.Run(name, f)
		}
	}
}
