package kernels

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// special values that operations must treat as their definitions say.
var special = []float32{0, float32(math.Copysign(0, -1)), 1, -1, 0.5, -0.5, 254.99, 1e-40, 1e30, -1e30, 100, -100,
	float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}

func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// FuzzRow holds every operation against apply, bit by bit but for Sigmoid.
func FuzzRow(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 5))
		n := r.IntN(70)
		a, b := random(r, n), random(r, n)
		for i := range n {
			if r.IntN(2) == 0 {
				a[i], b[i] = special[r.IntN(len(special))], special[r.IntN(len(special))]
			}
		}
		s := special[r.IntN(len(special))]
		for op := Add; op <= Sigmoid; op++ {
			check := func(form string, got []float32, second func(i int) float32) {
				for i, v := range got {
					want := op.apply(a[i], second(i))
					if form == "one" && s != s && (op == Max || op == Min) {
						want = s
					}
					if op == Truncate && !(math.Abs(float64(a[i])) < 1<<31) {
						continue // the language leaves it open
					}
					if !same(v, want) && !(op == Sigmoid && math.Abs(float64(v-want)) < 3e-7) {
						t.Fatalf("operation %d %s of %g and %g is %g, want %g", op, form, a[i], second(i), v, want)
					}
				}
			}
			all, dst := guarded(n)
			Row(op, dst, a, b)
			checkGuard(t, all)
			check("row", dst, func(i int) float32 { return b[i] })
			RowOne(op, dst, a, s)
			checkGuard(t, all)
			check("one", dst, func(int) float32 { return s })
			var lanes [Lanes]float32
			for l := range lanes {
				lanes[l] = special[r.IntN(len(special))]
			}
			RowLanes(op, dst, a, &lanes)
			checkGuard(t, all)
			for i, v := range dst {
				one := slices.Clone(a[i : i+1])
				if RowOne(op, one, one, lanes[i%Lanes]); !same(v, one[0]) && op != Truncate {
					t.Fatalf("operation %d lanes of %g and %g is %g, want %g", op, a[i], lanes[i%Lanes], v, one[0])
				}
			}
			RowOne(op, dst, a, s)
			inPlace := slices.Clone(a)
			RowOne(op, inPlace, inPlace, s)
			if !slices.EqualFunc(inPlace, dst, same) {
				t.Fatalf("operation %d in place differs", op)
			}
		}
	})
}

// TestChain computes (a - v)*(a - v) + b by a chain, for planes of any size.
func TestChain(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for _, c := range [][2]int{{1, 1}, {3, 7}, {64, 1}, {5, 1025}, {2, chainGrain + 3}, {2, 3 * chainGrain}} {
			for _, values := range []int{1, c[0]} {
				t.Run(fmt.Sprint(c, values), func(t *testing.T) {
					r := rand.New(rand.NewPCG(1, 6))
					n := c[0] * c[1]
					a, b, v := random(r, n), random(r, n), random(r, values*Lanes)
					all, dst := guarded(n)
					temp := Operand{InTemp, 0}
					run := &ChainRun{Chain: &Chain{Steps: []ChainStep{
						{Sub, temp, Operand{InTensor, 1}, Operand{InValues, 0}},
						{Mul, temp, temp, temp},
						{Add, Operand{InTensor, 0}, temp, Operand{InTensor, 2}},
					}, Temps: 1}, Tensors: [][]float32{dst, a, b}, Values: [][]float32{v}}
					if values == 1 && c[0] > 1 && c[1]%Lanes != 0 {
						return // planes of odd sizes are joined for one value only
					}
					if err := run.Run(context.Background(), NewWorkers(3), c[0], c[1]); err != nil {
						t.Fatal(err)
					}
					checkGuard(t, all)
					for i, x := range a {
						d := x - v[i/c[1]%values*Lanes+i%c[1]%Lanes]
						if want := float32(d*d) + b[i]; dst[i] != want {
							t.Fatalf("element %d is %g, want %g", i, dst[i], want)
						}
					}
				})
			}
		}
	})
}

func TestInterleave(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for rows := 1; rows <= 4; rows++ {
			for _, n := range []int{0, 1, 7, 8, 30} {
				src := make([][]float32, rows)
				for k := range src {
					src[k] = random(rand.New(rand.NewPCG(uint64(k), 7)), n)
				}
				all, dst := guarded(n * rows)
				Interleave(dst, src)
				checkGuard(t, all)
				for i, v := range dst {
					if v != src[i%rows][i/rows] {
						t.Fatalf("%d rows of %d: element %d is %g", rows, n, i, v)
					}
				}
			}
		}
	})
}

// TestSumPixels: the sums are those of Sum, bit by bit.
func TestSumPixels(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 15, 16, 17, 100, 1000} {
			planar := random(rand.New(rand.NewPCG(uint64(n), 8)), n*Lanes)
			for l, got := range SumPixels(blockedOf(planar, 1, Lanes, n)) {
				if want := Sum(planar[l*n:][:n]); got != want {
					t.Errorf("lane %d of %d pixels is %g, want %g", l, n, got, want)
				}
			}
		}
	})
}

func TestSum(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 17, 100, 1000} {
		v := random(rand.New(rand.NewPCG(uint64(n), 8)), n)
		var sums []float64
		atLevels(t, func(*testing.T) { sums = append(sums, Sum(v)) })
		var want float64
		for _, x := range v {
			want += float64(x)
		}
		for _, got := range sums {
			if got != sums[0] || math.Abs(got-want) > 1e-12*float64(n) {
				t.Errorf("the sum of %d is %v, want %v", n, sums, want)
			}
		}
	}
}
