package calib

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Sum adds finite float64 numbers without any rounding: it is mantissa *
// 2^exponent with a mantissa as long as needed (some 20 bytes for activations,
// 300 at the very worst). The order of additions leaves no trace. The zero value
// is 0.
type Sum struct {
	mantissa big.Int // odd, or zero
	exponent int
}

// Add adds a finite number.
func (s *Sum) Add(v float64) {
	var t Sum
	t.set(v)
	s.Merge(&t)
}

// addWeightedSquare adds n * v * v exactly.
func (s *Sum) addWeightedSquare(n int64, v float64) {
	var t Sum
	t.set(v)
	t.mantissa.Mul(&t.mantissa, &t.mantissa)
	t.exponent *= 2
	t.mantissa.Mul(&t.mantissa, big.NewInt(n))
	s.Merge(&t)
}

// addWeighted adds n * v exactly.
func (s *Sum) addWeighted(n int64, v float64) {
	var t Sum
	t.set(v)
	t.mantissa.Mul(&t.mantissa, big.NewInt(n))
	s.Merge(&t)
}

func (s *Sum) set(v float64) {
	fraction, exponent := math.Frexp(v)
	s.mantissa.SetInt64(int64(fraction * (1 << 53)))
	s.exponent = exponent - 53
}

// Merge adds another sum, which may not be s itself.
func (s *Sum) Merge(t *Sum) {
	switch {
	case t.mantissa.Sign() == 0:
	case s.mantissa.Sign() == 0:
		s.mantissa.Set(&t.mantissa)
		s.exponent = t.exponent
	case s.exponent > t.exponent:
		s.mantissa.Lsh(&s.mantissa, uint(s.exponent-t.exponent))
		s.exponent = t.exponent
		s.mantissa.Add(&s.mantissa, &t.mantissa)
	default:
		var aligned big.Int
		aligned.Lsh(&t.mantissa, uint(t.exponent-s.exponent))
		s.mantissa.Add(&s.mantissa, &aligned)
	}
	s.normalise()
}

// normalise makes equal sums have equal fields.
func (s *Sum) normalise() {
	if s.mantissa.Sign() == 0 {
		s.mantissa.SetInt64(0)
		s.exponent = 0
		return
	}
	if zeros := s.mantissa.TrailingZeroBits(); zeros > 0 {
		s.mantissa.Rsh(&s.mantissa, zeros)
		s.exponent += int(zeros)
	}
}

func (s *Sum) rat() *big.Rat {
	r := new(big.Rat).SetInt(&s.mantissa)
	power := new(big.Int).Lsh(big.NewInt(1), uint(max(s.exponent, -s.exponent)))
	if s.exponent >= 0 {
		return r.Mul(r, new(big.Rat).SetInt(power))
	}
	return r.Quo(r, new(big.Rat).SetInt(power))
}

// Float64 returns the sum rounded to nearest.
func (s *Sum) Float64() float64 {
	v, _ := s.rat().Float64()
	return v
}

// MarshalJSON writes "<mantissa>p<exponent>": hexadecimal mantissa, decimal exponent
// of 2, no rounding.
func (s *Sum) MarshalJSON() ([]byte, error) {
	return []byte(fmt.Sprintf(`"%sp%d"`, s.mantissa.Text(16), s.exponent)), nil
}

// Sums of finite float64 squares times counts stay far inside these limits;
// anything else comes from a damaged or hostile file.
const (
	maxSumDigits   = 1200 // hexadecimal
	maxSumExponent = 4400
)

// UnmarshalJSON reads what MarshalJSON writes and nothing else.
func (s *Sum) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	digits, power, ok := strings.Cut(text, "p")
	exponent, err := strconv.Atoi(power)
	if !ok || err != nil || len(digits) > maxSumDigits || max(exponent, -exponent) > maxSumExponent {
		return fmt.Errorf("%.40q is no exact sum", text)
	}
	if _, ok := s.mantissa.SetString(digits, 16); !ok {
		return fmt.Errorf("%.40q is no exact sum", text)
	}
	s.exponent = exponent
	s.normalise()
	return nil
}
