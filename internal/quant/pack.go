package quant

import "fmt"

// ContainerBits returns the bits of the smallest ONNX type, UINT2, UINT4 or
// UINT8, that holds a code of bits bits.
func ContainerBits(bits int) int {
	must(CheckBits(bits))
	switch {
	case bits <= 2:
		return 2
	case bits <= 4:
		return 4
	}
	return 8
}

// Pack packs codes of bits bits (1, 2, 4 or 8) as raw_data of an ONNX
// TensorProto does for UINT2, UINT4 and UINT8: the first code in the lowest bits
// of the first byte, unused bits of the last byte zero. It fails on a code that
// does not fit, and names its index.
func Pack(codes []uint8, bits int) ([]byte, error) {
	perByte, err := codesPerByte(bits)
	if err != nil {
		return nil, err
	}
	packed := make([]byte, (len(codes)+perByte-1)/perByte)
	for i, c := range codes {
		if int(c) >= 1<<bits {
			return nil, fmt.Errorf("code %d is %d: does not fit %d bits", i, c, bits)
		}
		packed[i/perByte] |= c << (i % perByte * bits)
	}
	return packed, nil
}

// Unpack returns the first n codes of packed, the inverse of Pack. It fails where
// packed is not exactly as long as n codes are.
func Unpack(packed []byte, bits, n int) ([]uint8, error) {
	perByte, err := codesPerByte(bits)
	if err != nil {
		return nil, err
	}
	if n < 0 || len(packed) != n/perByte+min(n%perByte, 1) {
		return nil, fmt.Errorf("%d bytes do not hold %d codes of %d bits", len(packed), n, bits)
	}
	codes := make([]uint8, n)
	for i := range codes {
		codes[i] = packed[i/perByte] >> (i % perByte * bits) & byte(1<<bits-1)
	}
	return codes, nil
}

func codesPerByte(bits int) (int, error) {
	switch bits {
	case 1, 2, 4, 8:
		return 8 / bits, nil
	}
	return 0, fmt.Errorf("%d bits cannot be packed: want 1, 2, 4 or 8", bits)
}
