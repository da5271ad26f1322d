package imaging

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
)

// The LR pictures were made by others (MATLAB-compatible bicubic); every pixel
// of every one must come out the same.
func TestDownscaleReproducesPublishedLR(t *testing.T) {
	images := filepath.Join(testenv.Shared(t), "data", "images")
	for _, set := range []struct {
		name   string
		scales []int
	}{{"Set5", []int{2, 3, 4}}, {"calib", []int{2, 4}}} {
		files, err := filepath.Glob(filepath.Join(images, set.name, "HR", "*.png"))
		if err != nil || len(files) < 5 {
			t.Fatalf("%s: %d pictures, %v", set.name, len(files), err)
		}
		for _, file := range files {
			t.Run(set.name+"/"+filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				hr := read(t, file)
				for _, k := range set.scales {
					want := read(t, filepath.Join(images, set.name, fmt.Sprintf("LRx%d", k), filepath.Base(file)))
					got, err := Downscale8(hr, k)
					if err != nil {
						t.Fatal(err)
					}
					if got.Width != want.Width || got.Height != want.Height {
						t.Fatalf("x%d: %dx%d, want %dx%d", k, got.Width, got.Height, want.Width, want.Height)
					}
					bad := 0
					for i := range want.Pix {
						if got.Pix[i] != want.Pix[i] {
							bad++
						}
					}
					if bad > 0 {
						t.Errorf("x%d: %d of %d samples differ", k, bad, len(want.Pix))
					}
				}
			})
		}
	}
}

func read(t *testing.T, path string) *Image {
	t.Helper()
	m, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
