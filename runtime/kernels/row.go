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

	// In chains only, with a quantizer.
	Level  // the value of a's code
	Encode // a's code
	Decode // the value of code a
)

// Row sets dst[i] = op(a[i], b[i]). Operands may be dst itself, not overlap it
// otherwise.
func Row(op Op, dst, a, b []float32) {
	if len(dst) > 0 {
		row(op, dst, a[:len(dst)], b[:len(dst)], Lanes)
	}
}

// RowLanes sets dst[i] = op(a[i], b[i%16]). Operations of one operand ignore b.
// With a NaN for b Max and Min are NaN.
func RowLanes(op Op, dst, a []float32, b *[Lanes]float32) {
	if len(dst) == 0 {
		return
	}
	row(op, dst, a[:len(dst)], b[:], 0)
	if op != Max && op != Min {
		return
	}
	for l, v := range b {
		for i := l; v != v && i < len(dst); i += Lanes {
			dst[i] = v
		}
	}
}

// RowOne sets dst[i] = op(a[i], b), as RowLanes does.
func RowOne(op Op, dst, a []float32, b float32) {
	var lanes [Lanes]float32
	fill(lanes[:], b)
	RowLanes(op, dst, a, &lanes)
}

// rowGo takes 16 elements at a time, b step further for each: 16 or 0.
func rowGo(op Op, dst, a, b []float32, step int) {
	for i, x := range a {
		dst[i] = op.apply(x, b[i/Lanes*step+i%Lanes])
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

// SumPixels adds up pixels of a block [n][16] lane by lane, in the order of Sum.
func SumPixels(v []float32) (sums [Lanes]float64) {
	var chains [16][Lanes]float64 // pixel i belongs to chain i%16
	sumPixels(&chains, v)
	for l := range sums {
		var c [4]float64
		for i := range c {
			c[i] = (chains[i][l] + chains[4+i][l]) + (chains[8+i][l] + chains[12+i][l])
		}
		sums[l] = (c[0] + c[1]) + (c[2] + c[3])
	}
	return sums
}

func sumPixelsGo(chains *[16][Lanes]float64, v []float32) {
	for i := 0; i+Lanes <= len(v); i += Lanes {
		c := &chains[i/Lanes%16]
		for l, x := range v[i : i+Lanes] {
			c[l] += float64(x)
		}
	}
}

func sumLanesGo(lanes *[16]float64, v []float32) {
	for i, x := range v {
		lanes[i%16] += float64(x)
	}
}

func fill(dst []float32, v float32) {
	for i := range dst {
		dst[i] = v
	}
}
