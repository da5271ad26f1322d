package kernels

import "context"

// intPixels is the number of pixels of an item of runPointwise.
const intPixels = 96

// runPointwise multiplies codes as they are: a 1x1 convolution.
func (c *IntConv) runPointwise(ctx context.Context, w *Workers, dst, src []float32, f *Folded, size, first int, tail *ChainRun) error {
	blocks, depth := c.outputs/Lanes, c.depth
	return w.each(ctx, ceilDiv(size, intPixels), func(item int, sc *scratch) {
		at := item * intPixels
		pixels := min(intPixels, size-at)
		room := roundUp(pixels, 2)
		buf := sc.floats(room*depth/2 + room*c.outputs)
		codes, sums := asInt16(buf[:room*depth/2]), asInt32(buf[room*depth/2:])
		for k := 0; k < c.inputs; k += depth {
			n := min(depth, c.inputs-k)
			for b := 0; b < n; b += Lanes {
				ch := k + b
				encode(pixels, codes[b:], n, src[(ch/Lanes*size+at)*Lanes:], f.offset[ch:], f.inverse[ch:], c.levels[ch:], c.factor[ch:])
			}
			intPanels(pixels, blocks, n/2, codes, n, f.weights[k*c.outputs:], n*Lanes, sums, c.outputs, k > 0)
		}
		for b := range blocks {
			intStore(pixels, sums[b*Lanes:], c.outputs, f.scale[b*Lanes:], f.bias[b*Lanes:], c.lo, dst[(b*size+at)*Lanes:])
			if tail != nil {
				tail.apply(sc, first+b, ((first+b)*size+at)*Lanes, pixels*Lanes)
			}
		}
	})
}
