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
	return eachBlock(ctx, w, n, channels, size, func(plane, block, lanes, at, pixels int) {
		from, to := src[plane*size+at:], dst[(block*size+at)*Lanes:]
		if lanes < Lanes {
			clear(to[:pixels*Lanes])
		}
		p := 0
		for ; lanes == Lanes && p+Lanes <= pixels; p += Lanes {
			transpose16(to[p*Lanes:], Lanes, from[p:], size)
		}
		for l := range lanes {
			row := from[l*size:][:pixels]
			for i := p; i < pixels; i++ {
				to[i*Lanes+l] = row[i]
			}
		}
	})
}

// ToPlanar copies src, blocked, to dst [n, channels, size].
func ToPlanar(ctx context.Context, w *Workers, dst, src []float32, n, channels, size int) error {
	return eachBlock(ctx, w, n, channels, size, func(plane, block, lanes, at, pixels int) {
		blockToPlanes(dst[plane*size+at:], size, src[(block*size+at)*Lanes:], lanes, pixels)
	})
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

// eachBlock calls f for pieces of at most layoutPixels of every block: number
// plane of all planes is its first, it has so many lanes.
func eachBlock(ctx context.Context, w *Workers, n, channels, size int, f func(plane, block, lanes, at, pixels int)) error {
	blocks, pieces := Blocks(channels), ceilDiv(size, layoutPixels)
	return w.For(ctx, n*blocks*pieces, func(i, _ int) {
		block, at := i/pieces, i%pieces*layoutPixels
		first := block % blocks * Lanes
		f(block/blocks*channels+first, block, min(Lanes, channels-first), at, min(layoutPixels, size-at))
	})
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

// CodesToBlocked is ToBlocked for codes.
func CodesToBlocked(ctx context.Context, w *Workers, dst, src []uint8, n, channels, size int) error {
	return eachBlock(ctx, w, n, channels, size, func(plane, block, lanes, at, pixels int) {
		from, to := src[plane*size+at:], dst[(block*size+at)*Lanes:][:pixels*Lanes]
		if lanes < Lanes {
			clear(to)
		}
		for l := range lanes {
			for p, code := range from[l*size:][:pixels] {
				to[p*Lanes+l] = code
			}
		}
	})
}

// CodesToPlanar is ToPlanar for codes.
func CodesToPlanar(ctx context.Context, w *Workers, dst, src []uint8, n, channels, size int) error {
	return eachBlock(ctx, w, n, channels, size, func(plane, block, lanes, at, pixels int) {
		from, to := src[(block*size+at)*Lanes:], dst[plane*size+at:]
		for l := range lanes {
			for p := range to[l*size:][:pixels] {
				to[l*size+p] = from[p*Lanes+l]
			}
		}
	})
}
