package runtime

import (
	"math/rand/v2"
	goruntime "runtime"
	"slices"
	"testing"

	"github.com/daq-sr/daq/models"
)

func TestMemoryPlanPlacesWithoutOverlap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		m := memoryPlan{shapes: [][]int{}}
		var inUse []*buffer
		live, most := 0, 0
		for range 200 {
			if len(inUse) > 0 && random.IntN(2) == 0 {
				i := random.IntN(len(inUse))
				live -= m.leases[inUse[i].lease-1].size
				m.release(inUse[i])
				inUse = slices.Delete(inUse, i, i+1)
				continue
			}
			b, size := &buffer{}, 64*(1+random.IntN(100))
			m.note(b, size)
			inUse = append(inUse, b)
			live += size
			most = max(most, live)
		}
		m.build()
		total := 0
		for i, a := range m.leases {
			total = max(total, a.at+a.size)
			for _, b := range m.leases[:i] {
				if a.begin < b.end && b.begin < a.end && a.at < b.at+b.size && b.at < a.at+a.size {
					t.Fatalf("%+v and %+v overlap", a, b)
				}
			}
		}
		if total > most*5/4 {
			t.Errorf("%d bytes where %d are in use at a time", total, most)
		}
	}
}

// A run that asks for the same sizes, but keeps buffers longer than the planned
// one, must not overwrite its own.
func TestMemoryPlanHoldsWhenARunDiffers(t *testing.T) {
	p := compile(t, `g (float[64] x, bool c) => (float[64] z) {
		a = Sqrt (x)
		b = If (c) <
			then_branch = one () => (float[64] o) { p = Exp (x) q = Neg (p) o = Add (q, a) },
			else_branch = two () => (float[64] o) { p = Exp (x) q = Neg (x) o = Mul (q, p) }
		>
		d = Tanh (b)
		z = Add (d, a)
	}`, Options{})
	x, err := New(1, 64)
	if err != nil {
		t.Fatal(err)
	}
	for i := range x.Data.([]float32) {
		x.Data.([]float32)[i] = float32(i) / 64
	}
	run := func(p *Program, c bool) []float32 {
		cond, _ := Of([]int{}, []bool{c})
		out, err := p.Run(t.Context(), map[string]*Tensor{"x": x, "c": cond}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out["z"].Data.([]float32)
	}
	want := map[bool][]float32{true: run(p, true), false: nil}
	for i := range 6 {
		c := i%2 == 0
		got := run(p, c)
		if want[c] == nil {
			want[c] = got
		} else if !slices.Equal(got, want[c]) {
			t.Errorf("run %d differs", i)
		}
	}
	again := compile(t, `g (float[64] x, bool c) => (float[64] z) {
		a = Sqrt (x)
		p = Exp (x)
		q = Neg (x)
		b = Mul (q, p)
		d = Tanh (b)
		z = Add (d, a)
	}`, Options{})
	if !slices.Equal(run(again, false), want[false]) {
		t.Error("the other branch is wrong")
	}
}

// Repeated runs of one size make no tensors but their outputs.
func TestRepeatedRunsReuseMemory(t *testing.T) {
	m, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(m, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	x, err := New(1, 1, 3, 40, 40)
	if err != nil {
		t.Fatal(err)
	}
	inputs := map[string]*Tensor{p.Inputs()[0]: x}
	var first, out *Tensor
	run := func() {
		results, err := p.Run(t.Context(), inputs, nil)
		if err != nil {
			t.Fatal(err)
		}
		out = results[p.Outputs()[0]]
	}
	run()
	first = out
	run()
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	run()
	goruntime.ReadMemStats(&after)
	own := uint64(4 * out.Len())
	if got := after.TotalAlloc - before.TotalAlloc; got < own || got > own+own/2 {
		t.Errorf("the third run allocated %d bytes, its output has %d", got, own)
	}
	if !slices.Equal(first.Data.([]float32), out.Data.([]float32)) {
		t.Error("the third run gives other values than the first")
	}
}
