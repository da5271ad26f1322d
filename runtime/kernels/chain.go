package kernels

import "context"

// Chain is a short program of element-wise operations over tensors of one shape
// [planes, size]; a plane is one channel, or one block of channels. It is executed run by run, so that what passes from one
// operation to the next stays in the first-level cache.
type Chain struct {
	Steps []ChainStep
	Temps int // rows that hold intermediate results

	Quantizers []Quantizer
}

// ChainStep is Dst = Op(A, B). For Level, Encode and Decode B is one of InQuantizers.
type ChainStep struct {
	Op        Op
	Dst, A, B Operand
}

// Operand is where a step reads or writes.
type Operand struct {
	Kind  OperandKind
	Index int
}

// OperandKind tells apart the lists that an operand's index refers to.
type OperandKind uint8

const (
	InTensor     OperandKind = iota // ChainRun.Tensors
	InTemp                          // intermediate results
	InValues                        // ChainRun.Values; only as B
	InCodes                         // ChainRun.Codes; what Decode reads and Encode writes
	InQuantizers                    // Chain.Quantizers; only as B
)

// ChainRun is a chain with the data of one execution.
type ChainRun struct {
	*Chain
	Tensors [][]float32 // of the common shape; steps may write them
	Codes   [][]uint8   // of the common shape; when the last step is Encode, the first is the result
	Values  [][]float32 // of each plane p 16 values, for element i that at i%16: v[p*16%len(v):][:16]
}

// chainWidth is the number of elements that pass through a chain at a time.
const chainWidth = 1024

// chainGrain is the number of elements of an item of Run.
const chainGrain = 1 << 15

// Run executes the chain on all planes.
func (r *ChainRun) Run(ctx context.Context, w *Workers, planes, size int) error {
	uniform := true
	for _, v := range r.Values {
		uniform = uniform && len(v) == Lanes
	}
	if uniform {
		planes, size = 1, planes*size
	}
	if planes == 0 || size == 0 {
		return ctx.Err()
	}
	some, pieces := max(1, chainGrain/size), ceilDiv(size, chainGrain)
	return chainJobs.run(ctx, w, ceilDiv(planes, some)*pieces, chainJob{r, planes, size, some, pieces})
}

// chainJob is a run over whole planes, some for each item, or over pieces of planes.
type chainJob struct {
	*ChainRun
	planes, size, some, pieces int
}

var chainJobs = jobs[chainJob]{item: (*chainJob).item}

func (j *chainJob) item(i int, sc *scratch) {
	at := i % j.pieces * chainGrain
	for p := i / j.pieces * j.some; p < min(j.planes, (i/j.pieces+1)*j.some); p++ {
		j.apply(sc, p, p*j.size+at, min(chainGrain, j.size-at))
	}
}

// encodes reports whether the result is codes, Codes[0].
func (r *ChainRun) encodes() bool {
	return r != nil && len(r.Steps) > 0 && r.Steps[len(r.Steps)-1].Op == Encode
}

// apply executes the chain on the elements [at, at+n) of all tensors, which
// belong to one plane. A nil chain does nothing.
func (r *ChainRun) apply(sc *scratch, plane, at, n int) {
	if r != nil {
		r.applyTo(sc, nil, nil, plane, at, n)
	}
}

// applyTo is apply with n elements of its own for tensor 0 and for the codes of the
// result, unless nil.
func (r *ChainRun) applyTo(sc *scratch, first []float32, result []uint8, plane, at, n int) {
	temps := sc.rows(r.Temps * chainWidth)
	for done := 0; done < n; done += chainWidth {
		m := min(chainWidth, n-done)
		row := func(o Operand) []float32 {
			switch {
			case o.Kind == InTemp:
				return temps[o.Index*chainWidth:][:m]
			case o.Index == 0 && first != nil:
				return first[done:][:m]
			}
			return r.Tensors[o.Index][at+done:][:m]
		}
		for i := range r.Steps {
			switch s := &r.Steps[i]; {
			case s.Op == Level:
				r.Quantizers[s.B.Index].levels(row(s.Dst), row(s.A))
			case s.Op == Encode && result != nil:
				r.Quantizers[s.B.Index].encode(result[done:], row(s.A))
			case s.Op == Encode:
				r.Quantizers[s.B.Index].encode(r.Codes[s.Dst.Index][at+done:], row(s.A))
			case s.Op == Decode:
				r.Quantizers[s.B.Index].decode(row(s.Dst), r.Codes[s.A.Index][at+done:][:m])
			case s.B.Kind == InValues:
				v := r.Values[s.B.Index]
				RowLanes(s.Op, row(s.Dst), row(s.A), (*[Lanes]float32)(v[plane*Lanes%len(v):]))
			default:
				Row(s.Op, row(s.Dst), row(s.A), row(s.B))
			}
		}
	}
}
