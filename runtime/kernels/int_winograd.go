package kernels

import (
	"context"
	"unsafe"
)

// A part of an image that one item convolves is at most intTiles tiles of 4x4
// pixels; the products of all outputs stay in the second-level cache.
const (
	intTiles = 24
	intDepth = 64 // input channels at a time
	intFine  = 32 // and where sums over more would make weights too coarse
)

// region is the tiles of an item: rows x cols of them from tile (y, x) on.
type region struct{ y, x, rows, cols int }

// regions cuts down x across tiles into parts of at most most, wide rather than
// high.
type regions struct{ down, across, rows, cols int }

func newRegions(down, across, most int) regions {
	cols := ceilDiv(across, ceilDiv(across, min(12, most)))
	rows := ceilDiv(down, ceilDiv(down, max(1, most/cols)))
	return regions{down, across, rows, cols}
}

func (r regions) count() int { return ceilDiv(r.down, r.rows) * ceilDiv(r.across, r.cols) }

func (r regions) at(i int) region {
	wide := ceilDiv(r.across, r.cols)
	y, x := i/wide*r.rows, i%wide*r.cols
	return region{y, x, min(r.rows, r.down-y), min(r.cols, r.across-x)}
}

// line is the padding that keeps rows of points out of the same cache sets.
const line = 64

func (c *IntConv) runWinograd(ctx context.Context, w *Workers, dst, src []float32, f *Folded, h, wd, first int, tail *ChainRun) error {
	most := max(4, min(intTiles, intTiles*64/c.outputs))
	parts := newRegions(ceilDiv(h, 4), ceilDiv(wd, 4), most)
	depth := c.depth
	room := roundUp(parts.rows*parts.cols, 2)
	pixels := (4*parts.rows + 2) * (4*parts.cols + 2)
	inPoint := room*depth + line/2
	outPoint := room*c.outputs + line/4
	group := 36 * c.outputs // scales
	if !c.grouped {
		group = 0
	}
	blocks := c.outputs / Lanes
	return w.each(ctx, parts.count(), func(item int, sc *scratch) {
		part := parts.at(item)
		buf := sc.floats(pixels*depth/2 + 36*inPoint/2 + 36*outPoint + 16*Lanes + room*c.outputs)
		codes, buf := asInt16(buf[:pixels*depth/2]), buf[pixels*depth/2:]
		in, buf := asInt16(buf[:36*inPoint/2]), buf[36*inPoint/2:]
		sums, buf := buf[:36*outPoint], buf[36*outPoint:]
		edge, out := buf[:16*Lanes], asInt32(sums)
		few := asInt32(buf[16*Lanes:]) // products of one point
		tiles := part.rows * part.cols
		for k := 0; k < c.inputs; k += depth {
			n := min(depth, c.inputs-k)
			c.encodeRegion(codes, n, src, f, k, h, wd, part)
			pitch := (4*part.cols + 2) * n
			for y := range part.rows {
				for b := 0; b < n; b += Lanes {
					intInput(part.cols, codes[4*y*pitch+b:], n, pitch, in[y*part.cols*n+b:], n, inPoint)
				}
			}
			for p := range 36 {
				weights := f.weights[(36*k+p*n)*c.outputs:]
				if !c.grouped {
					intPanels(tiles, blocks, n/2, in[p*inPoint:], n, weights, n*Lanes, out[p*outPoint:], c.outputs, k > 0)
					continue
				}
				intPanels(tiles, blocks, n/2, in[p*inPoint:], n, weights, n*Lanes, few, c.outputs, false)
				for b := 0; b < c.outputs; b += Lanes {
					intAccumulate(tiles, sums[p*outPoint+b:], few[b:], c.outputs, f.scale[k/depth*group+36*b+p*Lanes:], k > 0)
				}
			}
		}
		for b := range blocks {
			scale := f.scale[b*36*Lanes:][:36*Lanes]
			block := dst[b*h*wd*Lanes:][:h*wd*Lanes]
			for y := range part.rows {
				for x := 0; x < part.cols; {
					// Tiles inside of the image and away from its border together.
					n := c.inner(part, y, x, h, wd)
					ty, tx := 4*(part.y+y), 4*(part.x+x)
					from := sums[(y*part.cols+x)*c.outputs+b*Lanes:]
					if n > 0 {
						c.output(n, from, outPoint, scale, f.bias[b*Lanes:], 0, 0, block[(ty*wd+tx)*Lanes:], wd*Lanes)
						x += n
						continue
					}
					c.outputEdge(edge, from, outPoint, scale, f, b, block, ty, tx, h, wd)
					x++
				}
			}
			if tail != nil {
				for y := 4 * part.y; y < min(4*(part.y+part.rows), h); y++ {
					tail.apply(sc, first+b, ((first+b)*h*wd+y*wd+4*part.x)*Lanes, min(4*part.cols, wd-4*part.x)*Lanes)
				}
			}
		}
	})
}

// inner is the number of tiles from (y, x) of a part on whose windows do not leave
// the image.
func (c *IntConv) inner(part region, y, x, h, wd int) int {
	ty, tx := 4*(part.y+y), 4*(part.x+x)
	if ty == 0 || ty+5 > h || tx == 0 {
		return 0
	}
	return max(0, min(part.cols-x, (wd-1-tx)/4))
}

// output transforms the products of tiles, which are still integers unless the
// inputs are in groups.
func (c *IntConv) output(tiles int, src []float32, point int, scale, bias []float32, biasRow, biasPixel int, dst []float32, row int) {
	if c.grouped {
		intSumsOutput(tiles, src, c.outputs, point, bias, biasRow, biasPixel, c.lo, dst, row)
	} else {
		intOutput(tiles, asInt32(src), c.outputs, point, scale, bias, biasRow, biasPixel, c.lo, dst, row)
	}
}

// outputEdge stores one tile at a border, whose pixels have biases of their own.
func (c *IntConv) outputEdge(temp, src []float32, point int, scale []float32, f *Folded, b int, block []float32, y, x, h, wd int) {
	var bias [16 * Lanes]float32
	for i := range 16 {
		row, col := borders(y+i/4, h), borders(x+i%4, wd)
		copy(bias[i*Lanes:][:Lanes], f.bias[(row*4+col)*c.outputs+b*Lanes:])
	}
	c.output(1, src, point, scale, bias[:], 4*Lanes, Lanes, temp, 4*Lanes)
	for r := range min(4, h-y) {
		copy(block[((y+r)*wd+x)*Lanes:][:min(4, wd-x)*Lanes], temp[r*4*Lanes:])
	}
}

// borders is the case of foldBias for a pixel.
func borders(at, size int) int {
	i := 0
	if at == 0 {
		i = 1
	}
	if at >= size-1 {
		i += 2
	}
	return i
}

// encodeRegion encodes n channels from k on of the pixels that a part reads, to
// [row][pixel][n]; outside of the image is 0.
func (c *IntConv) encodeRegion(codes []int16, n int, src []float32, f *Folded, k, h, wd int, part region) {
	rows, cols := 4*part.rows+2, 4*part.cols+2
	y0, x0 := 4*part.y-1, 4*part.x-1
	left, right := max(0, -x0), min(cols, wd-x0)
	for r := range rows {
		line := codes[r*cols*n:][:cols*n]
		y := y0 + r
		if y < 0 || y >= h {
			clear(line)
			continue
		}
		clear(line[:left*n])
		clear(line[right*n:])
		for b := 0; b < n; b += Lanes {
			ch := k + b
			encode(right-left, line[left*n+b:], n, src[((ch/Lanes*h+y)*wd+x0+left)*Lanes:], f.offset[ch:], f.inverse[ch:], c.levels[ch:], c.factor[ch:])
		}
	}
}

// intPanels multiplies any number of tiles and blocks: an odd one computes one
// more. Weights of 4 blocks stay in registers' reach for 6 tiles at a time.
func intPanels(tiles, blocks, pairs int, a []int16, aTile int, b []int16, bBlock int, c []int32, cTile int, add bool) {
	for o := 0; o < blocks; {
		nb := 4
		for nb > blocks-o {
			nb /= 2
		}
		for t := 0; t < tiles; {
			n := min(6, roundUp(tiles-t, 2))
			intPanel(n, nb, pairs, a[t*aTile:], aTile, b[o*bBlock:], bBlock, c[t*cTile+o*Lanes:], cTile, add)
			t += n
		}
		o += nb
	}
}

func asInt16(f []float32) []int16 {
	return unsafe.Slice((*int16)(unsafe.Pointer(unsafe.SliceData(f))), 2*len(f))
}

func asInt32(f []float32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(f))), len(f))
}
