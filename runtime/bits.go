package runtime

// Operators on the bits of integers.

func init() {
	register("BitShift", 11, binary(bitShift))
	register("BitwiseAnd", 18, binary(bitwise("And")))
	register("BitwiseOr", 18, binary(bitwise("Or")))
	register("BitwiseXor", 18, binary(bitwise("Xor")))
}

func bitShift(s *site) []pair {
	left := s.Str("direction", "") == "LEFT"
	return []pair{
		same(shiftLoop[uint8](left)), same(shiftLoop[uint16](left)), same(shiftLoop[uint32](left)), same(shiftLoop[uint64](left)),
		same(shiftLoop[int8](left)), same(shiftLoop[int16](left)), same(shiftLoop[int32](left)), same(shiftLoop[int64](left)),
	}
}

// shiftLoop: a negative distance counts as one beyond the width. To the right
// the sign is extended.
func shiftLoop[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](left bool) loop2[T, T] {
	distance := func(b T) uint64 {
		if b < 0 {
			return 64
		}
		return uint64(b)
	}
	if left {
		return each2(func(a, b T) T { return a << distance(b) })
	}
	return each2(func(a, b T) T { return a >> distance(b) })
}

func bitwise(op string) func(*site) []pair {
	return func(*site) []pair {
		return []pair{
			same(bitLoop[int8](op)), same(bitLoop[int16](op)), same(bitLoop[int32](op)), same(bitLoop[int64](op)),
			same(bitLoop[uint8](op)), same(bitLoop[uint16](op)), same(bitLoop[uint32](op)), same(bitLoop[uint64](op)),
		}
	}
}

func bitLoop[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](op string) loop2[T, T] {
	f := map[string]func(a, b T) T{
		"And": func(a, b T) T { return a & b },
		"Or":  func(a, b T) T { return a | b },
		"Xor": func(a, b T) T { return a ^ b },
	}
	return each2(f[op])
}
