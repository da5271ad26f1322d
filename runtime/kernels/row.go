package kernels

import "math"

// Op is an element-wise operation on float32 of one or two operands.
type Op int

const (
	Add      Op = iota // a + b
	Sub                // a - b
	SubFrom            // b - a
	Mul                // a * b
	Div                // a / b
	DivInto            // b / a
	Max                // b if b > a, else a: a NaN in a stays
	Min                // b if b < a, else a
	Leaky              // a*b if a < 0, else a
	Greater            // 1 if a > b, else 0
	Floor              // the largest integer not above a
	Truncate           // the low 8 bits of a's integer part
	Sqrt               // square root of a
	Sigmoid            // 1 / (1 + exp(-a)), to about 2 units in the last place
)

// Row sets dst[i] = op(a[i], b[i]). Operands may be dst itself, not overlap it
// otherwise.
func Row(op Op, dst, a, b []float32) {
	row(op, dst, a[:len(dst)], b[:len(dst)], 0)
}

// RowOne sets dst[i] = op(a[i], b). Operations of one operand ignore b. With a
// NaN for b Max and Min are NaN.
func RowOne(op Op, dst, a []float32, b float32) {
	if b != b && (op == Max || op == Min) {
		fill(dst, b)
		return
	}
	row(op, dst, a[:len(dst)], nil, b)
}

// rowGo is Row, or RowOne when b is nil.
func rowGo(op Op, dst, a, b []float32, s float32) {
	for i, x := range a {
		y := s
		if b != nil {
			y = b[i]
		}
		dst[i] = op.apply(x, y)
	}
}

func (op Op) apply(a, b float32) float32 {
	switch op {
	case Add:
		return a + b
	case Sub:
		return a - b
	case SubFrom:
		return b - a
	case Mul:
		return a * b
	case Div:
		return a / b
	case DivInto:
		return b / a
	case Max:
		if b > a {
			return b
		}
		return a
	case Min:
		if b < a {
			return b
		}
		return a
	case Leaky:
		if a < 0 {
			return a * b
		}
		return a
	case Greater:
		if a > b {
			return 1
		}
		return 0
	case Floor:
		return float32(math.Floor(float64(a)))
	case Truncate:
		return float32(uint8(int32(a)))
	case Sqrt:
		return float32(math.Sqrt(float64(a)))
	case Sigmoid:
		return float32(1 / (1 + math.Exp(-float64(a))))
	}
	panic("kernels: unknown operation")
}

// Interleave sets dst[i*len(src)+k] = src[k][i], the rows of DepthToSpace.
func Interleave(dst []float32, src [][]float32) {
	n := len(src[0])
	switch dst = dst[:n*len(src)]; len(src) {
	case 1:
		copy(dst, src[0])
	case 2:
		interleave(dst, src[0], src[1][:n])
	default:
		for k, row := range src {
			for i, v := range row[:n] {
				dst[i*len(src)+k] = v
			}
		}
	}
}

func interleaveGo(dst, a, b []float32) {
	for i, v := range a {
		dst[2*i], dst[2*i+1] = v, b[i]
	}
}

// Sum adds in float64 and in 16 chains, which a processor can run side by side:
// element i belongs to chain i%16.
func Sum(v []float32) float64 {
	var c [16]float64
	sumLanes(&c, v)
	for i := range 4 {
		c[i] = (c[i] + c[4+i]) + (c[8+i] + c[12+i])
	}
	return (c[0] + c[1]) + (c[2] + c[3])
}

func sumLanesGo(lanes *[16]float64, v []float32) {
	for i, x := range v {
		lanes[i%16] += float64(x)
	}
}
