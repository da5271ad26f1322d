package runtime

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Moving elements of tensors in the blocked layout.

const lanes = kernels.Lanes

// asPlanes returns a blocked tensor [N,C,...] as the planar one [N*blocks,...,16] that
// it is in memory.
func (t *Tensor) asPlanes() *Tensor {
	shape := append([]int{t.Shape[0] * kernels.Blocks(t.Shape[1])}, t.Shape[2:]...)
	return &Tensor{Type: t.Type, Shape: append(shape, lanes), Data: t.Data}
}

// wholeBlocks reports whether parts of so many channels, the last apart, are
// whole blocks.
func wholeBlocks(sizes []int) bool {
	return !slices.ContainsFunc(sizes[:len(sizes)-1], func(n int) bool { return n%lanes != 0 })
}

// splitBlocked cuts one image between blocks, without a copy.
func (c *call) splitBlocked(in *Tensor, sizes []int) error {
	from := 0
	for i, n := range sizes {
		if i < len(c.wanted) && c.wanted[i] {
			shape := slices.Clone(in.Shape)
			shape[1] = n
			c.set(i, c.arena.part(in, from*product(shape[2:]), shape))
		}
		from += n
	}
	return nil
}

// concatBlocked joins tensors along the channels. Those that were made in their
// place are not copied.
func concatBlocked[T float32 | uint8](c *call, typ onnx.DataType, shape []int) error {
	out, err := c.newIn(0, typ, shape, true)
	if err != nil {
		return err
	}
	dst, size, channels := out.Data.([]T), product(shape[2:]), shape[1]
	first := 0
	for i := range c.in {
		t, err := c.inLayout(c.in[i], true)
		if err != nil {
			return err
		}
		src := t.Data.([]T)
		start, n := first, t.Shape[1]
		first += n
		if n == 0 || shape[0] == 1 && start%lanes == 0 && t.isPart(out, start*size) {
			continue
		}
		// Pieces of channels that are in one block before and after.
		type piece struct{ from, to, n int }
		var pieces []piece
		for ch := 0; ch < n; {
			m := min(n-ch, lanes-ch%lanes, lanes-(start+ch)%lanes)
			pieces = append(pieces, piece{ch, start + ch, m})
			ch += m
		}
		some := max(1, grain/(size*lanes)) // pieces of an item
		err = c.parallel(shape[0]*len(pieces), some, func(lo, hi int) {
			for k := lo; k < hi; k++ {
				image, p := k/len(pieces), pieces[k%len(pieces)]
				to := dst[(image*kernels.Blocks(channels)+p.to/lanes)*size*lanes:][:size*lanes]
				from := src[(image*kernels.Blocks(n)+p.from/lanes)*size*lanes:][:size*lanes]
				if p.n == lanes {
					copy(to, from)
					continue
				}
				at, of := p.to%lanes, p.from%lanes
				for x := 0; x < len(to); x += lanes {
					copy(to[x+at:][:p.n], from[x+of:])
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// depthToSpaceBlocked moves whole blocks to pixels, mode DCR.
func depthToSpaceBlocked[T float32 | uint8](c *call, in *Tensor, src []T, b int) error {
	n, d, h, w := in.Shape[0], in.Shape[1]/(b*b), in.Shape[2], in.Shape[3]
	out, err := c.newIn(0, in.Type, []int{n, d, h * b, w * b}, true)
	if err != nil {
		return err
	}
	dst, inner := out.Data.([]T), d/lanes
	return c.parallel(n*inner*h*b, max(1, grain/max(1, w*b*lanes)), func(lo, hi int) {
		for row := lo; row < hi; row++ {
			dy, y, block, image := row%b, row/b%h, row/b/h%inner, row/b/h/inner
			to := dst[row*w*b*lanes:][:w*b*lanes]
			for dx := range b {
				from := src[((image*b*b*inner+(dy*b+dx)*inner+block)*h+y)*w*lanes:][:w*lanes]
				for x := range w {
					*(*[lanes]T)(to[(x*b+dx)*lanes:]) = *(*[lanes]T)(from[x*lanes:])
				}
			}
		}
	})
}
