package kernels

import "context"

// Lanes is the number of channels in a block of the blocked layout: a feature
// map [N, C, H, W] lies in memory as [N][ceil(C/16)][H][W][16], the channels of
// a block beside each other for every pixel. It is what convolutions read and
// write: 16 channels of a pixel are one cache line and one AVX-512 vector (two
// of AVX2), a window of pixels is loaded without shuffles, and a Concat or
// Split of whole blocks is a piece of memory, as in the planar layout.
//
// When 16 does not divide C the last block has lanes beyond C. Their content is
// unspecified, NaN included: operations on lanes may compute them, sums over
// channels leave them out.
const Lanes = 16

// Blocks is the number of blocks of so many channels.
func Blocks(channels int) int { return ceilDiv(channels, Lanes) }

// BlockedLen is the number of elements of n blocked images.
func BlockedLen(n, channels, size int) int { return n * Blocks(channels) * size * Lanes }

// layoutPixels is the number of pixels of an item of ToBlocked and ToPlanar.
const layoutPixels = 2048

// ToBlocked copies src [n, channels, size], planar, to dst in the blocked
// layout. Lanes beyond channels become zero.
func ToBlocked(ctx context.Context, w *Workers, dst, src []float32, n, channels, size int) error {
	return layoutJob{dst: dst, src: src}.run(ctx, w, n, channels, size, true)
}

// ToPlanar copies src, blocked, to dst [n, channels, size].
func ToPlanar(ctx context.Context, w *Workers, dst, src []float32, n, channels, size int) error {
	return layoutJob{dst: dst, src: src}.run(ctx, w, n, channels, size, false)
}

// CodesToBlocked is ToBlocked for codes.
func CodesToBlocked(ctx context.Context, w *Workers, dst, src []uint8, n, channels, size int) error {
	return layoutJob{toCodes: dst, codes: src}.run(ctx, w, n, channels, size, true)
}

// CodesToPlanar is ToPlanar for codes.
func CodesToPlanar(ctx context.Context, w *Workers, dst, src []uint8, n, channels, size int) error {
	return layoutJob{toCodes: dst, codes: src}.run(ctx, w, n, channels, size, false)
}

// layoutJob copies floats or codes; an item is a piece of at most layoutPixels of a
// block.
type layoutJob struct {
	dst, src                       []float32
	toCodes, codes                 []uint8
	channels, size, blocks, pieces int
	blocked                        bool // the result
}

var layoutJobs = jobs[layoutJob]{item: (*layoutJob).item}

func (j layoutJob) run(ctx context.Context, w *Workers, n, channels, size int, blocked bool) error {
	j.channels, j.size, j.blocks, j.pieces, j.blocked = channels, size, Blocks(channels), ceilDiv(size, layoutPixels), blocked
	return layoutJobs.run(ctx, w, n*j.blocks*j.pieces, j)
}

func (j *layoutJob) item(i int, _ *scratch) {
	block, at := i/j.pieces, i%j.pieces*layoutPixels
	first := block % j.blocks * Lanes
	lanes, pixels := min(Lanes, j.channels-first), min(layoutPixels, j.size-at)
	plane, whole := (block/j.blocks*j.channels+first)*j.size+at, (block*j.size+at)*Lanes
	switch {
	case j.src == nil && j.blocked:
		planesToBlock(j.toCodes[whole:], j.codes[plane:], j.size, lanes, 0, pixels)
	case j.src == nil:
		for l := range lanes {
			for p := range pixels {
				j.toCodes[plane+l*j.size+p] = j.codes[whole+p*Lanes+l]
			}
		}
	case j.blocked:
		from, to, p := j.src[plane:], j.dst[whole:], 0
		for ; lanes == Lanes && p+Lanes <= pixels; p += Lanes {
			transpose16(to[p*Lanes:], Lanes, from[p:], j.size)
		}
		planesToBlock(to, from, j.size, lanes, p, pixels)
	default:
		blockToPlanes(j.dst[plane:], j.size, j.src[whole:], lanes, pixels)
	}
}

// planesToBlock copies pixels from at on of planes that lie pitch apart to one block.
func planesToBlock[T float32 | uint8](dst, src []T, pitch, lanes, at, pixels int) {
	if lanes < Lanes {
		clear(dst[at*Lanes : pixels*Lanes])
	}
	for l := range lanes {
		row := src[l*pitch:][:pixels]
		for p := at; p < pixels; p++ {
			dst[p*Lanes+l] = row[p]
		}
	}
}

// blockToPlanes copies pixels of one block to planes that lie pitch apart.
func blockToPlanes(dst []float32, pitch int, src []float32, lanes, pixels int) {
	for p := 0; p < pixels; p += Lanes {
		if pixels >= Lanes {
			p = min(p, pixels-Lanes) // the last 16 again
		}
		if lanes == Lanes && pixels >= Lanes {
			transpose16(dst[p:], pitch, src[p*Lanes:], Lanes)
			continue
		}
		var square, columns [Lanes * Lanes]float32
		n := copy(square[:], src[p*Lanes:min(pixels, p+Lanes)*Lanes]) / Lanes
		transpose16(columns[:], Lanes, square[:], Lanes)
		for l := range lanes {
			copy(dst[l*pitch+p:][:n], columns[l*Lanes:])
		}
	}
}

// transpose16Go copies 16 rows of 16 elements to the columns of dst.
func transpose16Go(dst []float32, to int, src []float32, from int) {
	for r := range Lanes {
		row := (*[Lanes]float32)(src[r*from:])
		for c, v := range row {
			dst[c*to+r] = v
		}
	}
}
