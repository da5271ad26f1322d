package kernels

import "context"

// Moments are the number, the mean, and the sum of squared deviations of values
// of one channel. Those of two sets give those of both (Chan, Golub and LeVeque,
// "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances",
// 1979).
type Moments struct{ Count, Mean, Squares float64 }

func (m *Moments) add(o Moments) {
	n := m.Count + o.Count
	if o.Count == 0 {
		return
	}
	d := o.Mean - m.Mean
	m.Mean += d * o.Count / n
	m.Squares += o.Squares + d*d*m.Count*o.Count/n
	m.Count = n
}

// MeanVariance returns the mean and the variance, 0 when there are no values.
func (m *Moments) MeanVariance() (mean, variance float32) {
	return float32(m.Mean), float32(m.Squares / max(m.Count, 1))
}

// momentPixels is the number of pixels of an item of ChannelMoments, momentSums
// how many of them are added in float32, relative to the first pixel of the item.
const (
	momentPixels = 2048
	momentSums   = 128
)

// ChannelMoments returns the moments of each channel of one blocked image, over
// the values above floor, which has one entry for all channels or one for each. They
// do not depend on the number of threads.
func ChannelMoments(ctx context.Context, w *Workers, dst []Moments, src []float32, size int, floor []float32) error {
	blocks, pieces := Blocks(len(dst)), ceilDiv(size, momentPixels)
	b := momentJobs.take()
	defer momentJobs.put(b)
	j := &b.state
	j.src, j.size, j.pieces = src, size, pieces
	j.parts, j.floors = resized(j.parts, blocks*pieces), resized(j.floors, blocks*Lanes)
	clear(j.floors[copy(j.floors, floor):])
	if len(floor) == 1 {
		fill(j.floors, floor[0])
	}
	err := w.each(ctx, len(j.parts), b.each)
	j.src = nil
	if err != nil {
		return err
	}
	for c := range dst {
		dst[c] = Moments{}
		for p := range pieces {
			dst[c].add(j.parts[c/Lanes*pieces+p][c%Lanes])
		}
	}
	return nil
}

// momentJob adds up pieces of blocks, to parts.
type momentJob struct {
	src          []float32
	size, pieces int
	floors       []float32
	parts        [][Lanes]Moments
}

var momentJobs = jobs[momentJob]{item: (*momentJob).item}

func (j *momentJob) item(i int, _ *scratch) {
	at, block := i%j.pieces*momentPixels, i/j.pieces
	blockMoments(&j.parts[i], j.src[(block*j.size+at)*Lanes:], min(momentPixels, j.size-at), (*[Lanes]float32)(j.floors[block*Lanes:]))
}

// blockMoments sets m to the moments of pixels of one block.
func blockMoments(m *[Lanes]Moments, src []float32, pixels int, floor *[Lanes]float32) {
	pivot := (*[Lanes]float32)(src)
	var all [3][Lanes]float64
	for p := 0; p < pixels; p += momentSums {
		var sums [3][Lanes]float32
		momentsOf(min(momentSums, pixels-p), src[p*Lanes:], floor, pivot, &sums)
		for i := range all {
			for l := range all[i] {
				all[i][l] += float64(sums[i][l])
			}
		}
	}
	for l := range m {
		n, sum, squares := all[0][l], all[1][l], all[2][l]
		if n == 0 {
			m[l] = Moments{}
			continue
		}
		m[l] = Moments{n, float64(pivot[l]) + sum/n, max(squares-sum*sum/n, 0)}
	}
}

// Requantize replaces every value of one blocked image by that of its code, as
// IntConv sees it: dst and src may be the same.
func Requantize(ctx context.Context, w *Workers, dst, src []float32, size int, win Windows, levels []int) error {
	blocks, pieces := Blocks(len(levels)), ceilDiv(size, momentPixels)
	return w.For(ctx, blocks*pieces, func(i, _ int) {
		at, block := i%pieces*momentPixels, i/pieces
		var e encoding
		var scale, offset [Lanes]float32
		for l := range min(Lanes, len(levels)-block*Lanes) {
			c := block*Lanes + l
			scale[l], offset[l] = win.Scale[c], win.Offset[c]
			e.set(l, scale[l], offset[l], levels[c], 0, 0)
		}
		var codes [momentSums * Lanes]int32
		for p := at; p < min(at+momentPixels, size); p += momentSums {
			n := min(momentSums, min(at+momentPixels, size)-p)
			first := (block*size + p) * Lanes
			encodeWords(n, asBytes(codes[:]), 2*Lanes, src[first:], &e)
			for j, code := range asWords(asBytes(codes[:]))[:n*Lanes] {
				dst[first+j] = float32(float32(code)*scale[j%Lanes]) + offset[j%Lanes]
			}
		}
	})
}
