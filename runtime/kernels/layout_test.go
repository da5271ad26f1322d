package kernels

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestLayout(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for _, c := range [][3]int{{1, 16, 16}, {2, 16, 37}, {1, 3, 5}, {2, 35, 100}, {1, 64, layoutPixels + 17}, {1, 1, 1}} {
			n, channels, size := c[0], c[1], c[2]
			r := rand.New(rand.NewPCG(1, 9))
			planar := random(r, n*channels*size)
			all, blocked := guarded(BlockedLen(n, channels, size))
			w := NewWorkers(3)
			if err := ToBlocked(context.Background(), w, blocked, planar, n, channels, size); err != nil {
				t.Fatal(err)
			}
			checkGuard(t, all)
			for i, v := range blocked {
				lane, p, b := i%16, i/16%size, i/16/size
				channel, image := b%Blocks(channels)*16+lane, b/Blocks(channels)
				want := float32(0)
				if channel < channels {
					want = planar[(image*channels+channel)*size+p]
				}
				if v != want {
					t.Fatalf("%v: element %d is %g, want %g", c, i, v, want)
				}
			}
			all, back := guarded(len(planar))
			if err := ToPlanar(context.Background(), w, back, blocked, n, channels, size); err != nil {
				t.Fatal(err)
			}
			checkGuard(t, all)
			if !slices.Equal(back, planar) {
				t.Fatalf("%v: there and back differs", c)
			}
		}
	})
}
