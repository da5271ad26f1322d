package runtime

import (
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// composedConv prepares a composition: X [N,C,H,W] to [N,outputs,H*block,W*block].
func composedConv(s *site, comp *composition) (kernel, error) {
	s.takeFloats(1)
	if s.has(2) {
		s.takeFloats(2)
	}
	half := comp.side / 2
	main, err := comp.conv(0, 0, false, kernels.Options{}, [4]int{half, half, half, half})
	if err != nil {
		return nil, err
	}
	var borders [edges][edges]*kernels.Conv // [row][column]
	for row := range edges {
		for column := range edges {
			if row == 0 && column == 0 {
				continue
			}
			if borders[row][column], err = comp.conv(row, column, row == 0, kernels.Options{Strict: true}, [4]int{}); err != nil {
				return nil, err
			}
		}
	}
	tail, base := s.tail, len(s.Inputs)
	return func(c *call) error {
		in, src, err := c.featureMap(comp.in)
		if err != nil {
			return err
		}
		n, h, w := in.Shape[0], in.Shape[2], in.Shape[3]
		out, err := c.new(0, onnx.Float, []int{n, comp.outputs, h * comp.block, w * comp.block})
		if err != nil || out.Len() == 0 {
			return err
		}
		apart, err := c.arena.blocked([]int{n, comp.channels(), h, w})
		if err != nil {
			return err
		}
		defer c.release(apart)
		pixels := apart.Data.([]float32)
		if err := main.Run(c.ctx, c.workers, pixels, src, false, n, h, w, nil); err != nil {
			return err
		}
		for row := range edges {
			for column := range edges {
				if k := borders[row][column]; k != nil {
					if err := c.border(k, comp, row, column, apart, in); err != nil {
						return err
					}
				}
			}
		}
		if err := c.interleave(out, apart, comp); err != nil {
			return err
		}
		t, err := tail.bind(c, base, out)
		if err != nil || t == nil {
			return err
		}
		return t.Run(c.ctx, c.workers, planesOf(out.Shape), out.Len()/planesOf(out.Shape))
	}, nil
}

// border computes the pixels of an edge of the image again: a row, a column, or, of
// an edge of both, one pixel. Rows and columns cover corners, which come later.
func (c *call) border(k *kernels.Conv, comp *composition, row, column edge, out, in *Tensor) error {
	n, h, w := in.Shape[0], in.Shape[2], in.Shape[3]
	y, ok := row.of(h)
	x, fits := column.of(w)
	if !ok || !fits {
		return nil
	}
	pixels := 1
	switch {
	case column == 0:
		pixels = w
	case row == 0:
		pixels = h
	}
	// place is the pixel that is along pixels along the edge and across lines over it.
	place := func(along, across int) (int, int) {
		if row == 0 {
			return y + along, x + across
		}
		return y + across, x + along
	}
	// The strip has all that windows on the edge see, lines along it.
	length, half := pixels+comp.side-1, comp.side/2
	strip, err := c.arena.blocked([]int{n, comp.in, comp.side, length})
	if err != nil {
		return err
	}
	defer c.release(strip)
	line, err := c.arena.blocked([]int{n, comp.channels(), 1, pixels})
	if err != nil {
		return err
	}
	defer c.release(line)
	src, to := in.Data.([]float32), strip.Data.([]float32)
	for plane := range n * kernels.Blocks(comp.in) {
		for i := range comp.side * length {
			sy, sx := place(i%length-half, i/length-half)
			pixel := to[(plane*comp.side*length+i)*lanes:][:lanes]
			if sy < 0 || sx < 0 || sy >= h || sx >= w {
				clear(pixel)
			} else {
				copy(pixel, src[((plane*h+sy)*w+sx)*lanes:])
			}
		}
	}
	sums := line.Data.([]float32)
	if err := k.Run(c.ctx, c.workers, sums, to, false, n, comp.side, length, nil); err != nil {
		return err
	}
	dst := out.Data.([]float32)
	for plane := range n * kernels.Blocks(comp.channels()) {
		for i := range pixels {
			ty, tx := place(i, 0)
			copy(dst[((plane*h+ty)*w+tx)*lanes:][:lanes], sums[(plane*pixels+i)*lanes:])
		}
	}
	return nil
}

// of returns the index along an axis of n pixels that is at the edge, 0 for none of the edges, and
// whether there is one.
func (e edge) of(n int) (int, bool) {
	switch e {
	case firstEdge:
		return 0, n > 1
	case lastEdge:
		return n - 1, n > 1
	case firstEdge | lastEdge:
		return 0, n == 1
	}
	return 0, true
}

// interleave is DepthToSpace from blocked to planar.
func (c *call) interleave(out, apart *Tensor, comp *composition) error {
	n, h, w, r := apart.Shape[0], apart.Shape[2], apart.Shape[3], comp.block
	blocks := kernels.Blocks(comp.channels())
	dst, src := out.Data.([]float32), apart.Data.([]float32)
	return c.parallel(n*h, max(1, grain/max(1, w*comp.channels())), func(lo, hi int) {
		for row := lo; row < hi; row++ {
			image, y := row/h, row%h
			for ch := range comp.channels() {
				phase, o := ch/comp.outputs, ch%comp.outputs
				from := src[((image*blocks+ch/lanes)*h+y)*w*lanes+ch%lanes:]
				to := dst[((image*comp.outputs+o)*h*r+y*r+phase/r)*w*r+phase%r:]
				for x := range w {
					to[x*r] = from[x*lanes]
				}
			}
		}
	})
}
