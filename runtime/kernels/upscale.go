package kernels

// Options.Upscale: channel (i*up+j)*C+c of a pixel becomes channel c of pixel (i, j) of
// up x up, so that pixels of one block are up apart (ONNX operator DepthToSpace).

// upscaledAt is the element where pixel (y, x) of a block goes, of images of so many
// blocks and h x w pixels before.
func upscaledAt(up, image, blocks, block, h, w, y, x int) int {
	inner := blocks / (up * up)
	phase, plane := block/inner, image*inner+block%inner
	return (((plane*h+y)*up+phase/up)*w*up + x*up + phase%up) * Lanes
}

// spread copies pixels of one block to pixels that are up apart.
func spread[T float32 | uint8](dst, src []T, up int) {
	for p := 0; p < len(src); p += Lanes {
		*(*[Lanes]T)(dst[p*up:]) = *(*[Lanes]T)(src[p:])
	}
}
