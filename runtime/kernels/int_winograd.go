package kernels

// A part of an image that one item convolves is at most intTiles tiles of 4x4
// pixels; the products of a chunk of outputs stay in the second-level cache.
const (
	intTiles = 24
	intChunk = 4  // output blocks at a time
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

// line is the padding, in bytes, that keeps rows of points out of the same cache sets.
const line = 64

// intJob is a run on one image.
type intJob struct {
	*IntConv
	dst, src []float32
	f        *Folded
	h, wd    int
	first    int // number of the first block of outputs
	tail     *ChainRun
	moments  *OutputMoments
	parts    regions
}

var (
	intWinograd  = jobs[intJob]{item: (*intJob).winograd}
	intPointwise = jobs[intJob]{item: (*intJob).pointwise}
)

// winograd convolves part number item.
func (j *intJob) winograd(item int, sc *scratch) {
	c, f, h, wd, parts := j.IntConv, j.f, j.h, j.wd, j.parts
	room := roundUp(parts.rows*parts.cols, 2)
	pixels := (4*parts.rows + 2) * (4*parts.cols + 2)
	pixel := roundUp(c.depth, c.form.width) * c.form.size
	wide := min(c.outputs, intChunk*Lanes) // of a tile's products
	inPoint, outPoint := room*pixel+line, room*wide+line/4
	part := parts.at(item)
	buf := sc.floats(pixels*pixel/4 + c.form.inputs*inPoint/4 + c.points*outPoint + 16*Lanes + room*wide)
	take := func(n int) []float32 {
		piece := buf[:n]
		buf = buf[n:]
		return piece
	}
	codes, in := asBytes(take(pixels*pixel/4)), asBytes(take(c.form.inputs*inPoint/4))
	sums, tile := asInt32(take(c.points*outPoint)), take(16*Lanes)
	few := asInt32(buf) // products of one point
	tiles := part.rows * part.cols
	for first := 0; first < c.outputs/Lanes; first += intChunk {
		blocks := min(intChunk, c.outputs/Lanes-first)
		for k := 0; k < c.inputs; k += c.depth {
			n := min(c.depth, c.inputs-k)
			if first == 0 || c.depth < c.inputs {
				c.encodeRegion(codes, n, pixel, j.src, f, k, h, wd, part)
				c.form.transform(in, inPoint, codes, n, pixel, part)
			}
			deep := n * c.form.size
			for p := range c.points {
				at := p*c.outputs + first*Lanes
				weights, start := f.weights[c.points*k*c.form.size*c.outputs+at*deep:], f.start[at:]
				to := sums[p*outPoint:]
				if c.grouped {
					to = few
				} else if k > 0 {
					start = nil
				}
				c.form.multiply(tiles, blocks, deep/4, in[c.form.source(p)*inPoint:], pixel, weights, start, to, wide)
				if c.grouped {
					c.addGroup(tiles, first, blocks, asFloats(sums[p*outPoint:]), few, wide, f, k/c.depth, p)
				}
			}
		}
		for b := first; b < first+blocks; b++ {
			c.store(sums[(b-first)*Lanes:], wide, outPoint, f, b, j.dst[b*h*wd*Lanes:][:h*wd*Lanes], h, wd, part, tile)
			j.finish(sc, item, b, part)
		}
	}
}

// finish executes the tail on block b of the outputs of a part, and sums their moments.
func (j *intJob) finish(sc *scratch, item, b int, part region) {
	x, cols := 4*part.x, min(4*part.cols, j.wd-4*part.x)
	first, last := 4*part.y, min(4*(part.y+part.rows), j.h)
	if j.tail != nil {
		for y := first; y < last; y++ {
			j.tail.apply(sc, j.first+b, ((j.first+b)*j.h*j.wd+y*j.wd+x)*Lanes, cols*Lanes)
		}
	}
	if j.moments != nil {
		j.moments.add(item, b, last-first, cols, j.dst[((b*j.h+first)*j.wd+x)*Lanes:], j.wd*Lanes)
	}
}

// transform transforms the codes of n channels of a part.
func (f *intForm) transform(in []byte, point int, codes []byte, n, pixel int, part region) {
	pitch := (4*part.cols + 2) * pixel
	for y := range part.rows {
		for b := 0; b < n*f.size; b += f.width * f.size {
			f.input(part.cols, codes[4*y*pitch+b:], pixel, pitch, in[y*part.cols*pixel+b:], pixel, point)
		}
	}
}

// multiply is panel for any number of tiles and for blocks beside each other; an odd
// tile computes one more. Weights of 4 blocks stay in registers' reach.
func (f *intForm) multiply(tiles, blocks, quads int, a []byte, aTile int, weights []byte, start, sums []int32, cTile int) {
	for o := 0; o < blocks; {
		nb := 4
		for nb > blocks-o {
			nb /= 2
		}
		from := start
		if start != nil {
			from = start[o*Lanes:]
		}
		f.panel(roundUp(tiles, 2), nb, quads, a, aTile, weights[o*quads*4*Lanes:], quads*4*Lanes, from, sums[o*Lanes:], cTile)
		o += nb
	}
}

// addGroup adds the products of one point, group of inputs and chunk of outputs to the
// sums of all groups.
func (c *IntConv) addGroup(tiles, first, blocks int, sums []float32, products []int32, wide int, f *Folded, group, point int) {
	for b := range blocks {
		scale := f.scale[(group*c.outputs+(first+b)*Lanes)*c.points+point*Lanes:]
		intAccumulate(tiles, sums[b*Lanes:], products[b*Lanes:], wide, scale, group > 0)
	}
}

// store transforms the products of block b of outputs back, tiles with the same bias
// together. tile is scratch for one.
func (c *IntConv) store(sums []int32, wide, point int, f *Folded, b int, dst []float32, h, wd int, part region, tile []float32) {
	scale := f.scale[b*c.form.scales*Lanes:][:c.form.scales*Lanes]
	down, across := ceilDiv(h, 4), ceilDiv(wd, 4)
	output := func(n int, from []int32, bias, to []float32, row int) {
		if c.grouped {
			sumsOutput(n, asFloats(from), wide, point, bias, c.lo, to, row)
		} else {
			c.form.output(n, from, wide, point, scale, bias, c.lo, to, row)
		}
	}
	for y := range part.rows {
		ty := part.y + y
		for x := 0; x < part.cols; {
			tx, n := part.x+x, 1
			if kind(tx, across) == 1 {
				n = min(part.cols-x, across-1-tx)
			}
			from := sums[(y*part.cols+x)*wide:]
			bias := f.borders[((kind(ty, down)*3+kind(tx, across))*c.outputs/Lanes+b)*16*Lanes:][:16*Lanes]
			to := dst[(4*ty*wd+4*tx)*Lanes:]
			rows, cols := min(4, h-4*ty), min(4, wd-4*tx)
			if rows == 4 && cols == 4 {
				output(n, from, bias, to, wd*Lanes)
				x += n
				continue
			}
			output(1, from, bias, tile, 4*Lanes)
			for r := range rows {
				copy(to[r*wd*Lanes:][:cols*Lanes], tile[r*4*Lanes:])
			}
			x++
		}
	}
}

// kind is 0 for the first of n tiles, 2 for the last, 1 in between.
func kind(i, n int) int {
	switch i {
	case 0:
		return 0
	case n - 1:
		return 2
	}
	return 1
}

// setBorders puts the bias of each pixel of a tile where tiles are that kind.
func (c *IntConv) setBorders(f *Folded, h, wd int) {
	blocks := c.outputs / Lanes
	f.borders = resized(f.borders, 9*blocks*16*Lanes)
	at := func(kind, pixel, size int) int {
		switch kind {
		case 0:
			return border(pixel, size)
		case 1:
			return 0
		}
		return border(roundUp(size, 4)-4+pixel, size)
	}
	for i := range 9 {
		for pixel := range 16 {
			row, col := at(i/3, pixel/4, h), at(i%3, pixel%4, wd)
			for b := range blocks {
				*(*[Lanes]float32)(f.borders[((i*blocks+b)*16+pixel)*Lanes:]) = *(*[Lanes]float32)(f.bias[(row*4+col)*c.outputs+b*Lanes:])
			}
		}
	}
}

// border is the case of foldBias for a pixel.
func border(at, size int) int {
	i := 0
	if at == 0 {
		i = 1
	}
	if at >= size-1 {
		i += 2
	}
	return i
}

// encodeRegion encodes n channels from k on of the pixels that a part reads.
func (c *IntConv) encodeRegion(codes []byte, n, pixel int, src []float32, f *Folded, k, h, wd int, part region) {
	block := k / Lanes
	part.read(codes, pixel, h, wd, func(line []byte, y, x, pixels int) {
		c.form.encode(pixels, line, pixel, src[((block*h+y)*wd+x)*Lanes:], h*wd*Lanes, f.encodings[block:][:n/Lanes])
	})
}

// read calls encode for each row of the pixels of an image that a part reads, whose codes
// are [row][pixel], so many bytes each; outside of the image is 0.
func (part region) read(codes []byte, pixel, h, wd int, encode func(line []byte, y, x, pixels int)) {
	rows, cols := 4*part.rows+2, 4*part.cols+2
	y0, x0 := 4*part.y-1, 4*part.x-1
	left, right := max(0, -x0), min(cols, wd-x0)
	for r := range rows {
		line := codes[r*cols*pixel:][:cols*pixel]
		y := y0 + r
		if y < 0 || y >= h {
			clear(line)
			continue
		}
		clear(line[:left*pixel])
		clear(line[right*pixel:])
		encode(line[left*pixel:], y, x0+left, right-left)
	}
}
