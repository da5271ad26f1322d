package imaging

import (
	"bytes"
	"encoding/binary"
)

// exifOrientation returns the Orientation tag (1..8) of a JPEG's leading
// segments, 1 when absent or broken. (EXIF 2.3, tag 0x0112 of IFD0.)
func exifOrientation(jpeg []byte) int {
	if len(jpeg) < 2 {
		return 1
	}
	for p := jpeg[2:]; len(p) >= 4 && p[0] == 0xff; {
		size := int(binary.BigEndian.Uint16(p[2:])) + 2
		if size < 4 || size > len(p) || p[1] == 0xda {
			break
		}
		if body, ok := bytes.CutPrefix(p[4:size], []byte("Exif\x00\x00")); ok && p[1] == 0xe1 {
			return tiffOrientation(body)
		}
		p = p[size:]
	}
	return 1
}

func tiffOrientation(b []byte) int {
	if len(b) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.LittleEndian
	if b[0] == 'M' {
		order = binary.BigEndian
	}
	start := int64(order.Uint32(b[4:]))
	if start+2 > int64(len(b)) {
		return 1
	}
	entries := b[start:]
	n := int(order.Uint16(entries))
	entries = entries[2:]
	for range n {
		if len(entries) < 12 {
			break
		}
		if order.Uint16(entries) == 0x0112 {
			if o := int(order.Uint16(entries[8:])); o >= 1 && o <= 8 {
				return o
			}
			break
		}
		entries = entries[12:]
	}
	return 1
}
