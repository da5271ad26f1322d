package runtime

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// linker makes the chain of a group: which row or tensor every value is in.
type linker struct {
	*builder
	*tail
	shape   onnx.Shape // of the tensors, which there are none of with a shuffle
	at      map[*onnx.Value]kernels.Operand
	reads   map[*onnx.Value]int // still to come
	busy    []bool              // temporary rows
	tensors []operand           // from outside
	codes   []operand
	values  []operand
}

// operation is one step of a chain as the graph has it.
type operation struct {
	to, a *onnx.Value
	loweredOp
	first, last bool // of its node
}

func (b *builder) link(g *group) *tail {
	l := &linker{builder: b, tail: &tail{chain: &kernels.Chain{}}, shape: g.nodes[0].Outputs[0].Type.Shape,
		at: map[*onnx.Value]kernels.Operand{}, reads: map[*onnx.Value]int{}}
	if g.shuffle != nil {
		l.shuffle = shuffleOf(g.shuffle)
		l.shape = nil
	}
	result := kernels.Operand{Kind: kernels.InTensor}
	if g.conv != nil {
		l.at[g.conv.Outputs[0]] = result
	}
	codes := b.isCodes(g.nodes[len(g.nodes)-1].Outputs[0])
	program := l.operations(g)
	var p kernels.Operand
	for i, o := range program {
		if o.first {
			p = l.find(operand{value: o.a}, o.op == kernels.Decode)
		}
		step := kernels.ChainStep{Op: o.op, A: p, B: l.second(o)}
		if o.first { // only now: decoding the second operand must not take its row
			l.read(o.a)
		}
		l.read(o.b.value)
		switch {
		case i == len(program)-1 && codes:
			step.Op, p = kernels.Encode, kernels.Operand{Kind: kernels.InCodes}
		case i == len(program)-1:
			p = result
		case !o.first: // in place
		case g.conv != nil && p == result && l.reads[o.a] == 0: // in place
		default:
			p = l.row()
		}
		if p.Kind == kernels.InTemp {
			l.busy[p.Index] = true
		}
		if o.last {
			l.at[o.to] = p
		}
		step.Dst = p
		l.chain.Steps = append(l.chain.Steps, step)
	}
	l.chain.Temps = len(l.busy)
	l.tail.tensors, l.tail.codes = len(l.tensors), len(l.codes)
	l.operands = slices.Concat(l.tensors, l.codes, l.values)
	return l.tail
}

// operations are the steps of a group, and notes how often every value is read.
func (l *linker) operations(g *group) (program []operation) {
	in := map[*onnx.Value]bool{}
	if g.conv != nil {
		in[g.conv.Outputs[0]] = true
	}
	alias := map[*onnx.Value]*onnx.Value{} // results of nodes without operations
	whole := func(v *onnx.Value) *onnx.Value {
		if a := alias[v]; a != nil {
			return a
		}
		return v
	}
	for i, n := range g.nodes {
		lo := lowered{a: n.Inputs[0]}
		if n != g.shuffle {
			lo, _ = l.lower(n, n.Outputs[0].Type.Shape, in)
		}
		if l.unscaled[n] && !slices.ContainsFunc(g.nodes[i+1:], func(n *onnx.Node) bool { return n != g.shuffle }) {
			lo.ops = lo.ops[:1] // codes leave
		}
		in[n.Outputs[0]] = true
		if len(lo.ops) == 0 {
			alias[n.Outputs[0]] = whole(lo.a)
		}
		for k, o := range lo.ops {
			o.b.value = whole(o.b.value)
			program = append(program, operation{n.Outputs[0], whole(lo.a), o, k == 0, k == len(lo.ops)-1})
			l.reads[o.b.value]++
		}
		l.reads[whole(lo.a)]++
	}
	return program
}

// second is the second operand of a step: of those with a quantizer that is it.
func (l *linker) second(o operation) kernels.Operand {
	if o.quantizer == nil {
		return l.find(o.b, false)
	}
	i := slices.Index(l.chain.Quantizers, *o.quantizer)
	if i < 0 {
		i = len(l.chain.Quantizers)
		l.chain.Quantizers = append(l.chain.Quantizers, *o.quantizer)
	}
	return kernels.Operand{Kind: kernels.InQuantizers, Index: i}
}

// find returns where an operand is. Codes from outside are decoded to a row first,
// unless asked for as they are.
func (l *linker) find(o operand, raw bool) kernels.Operand {
	if p, ok := l.at[o.value]; ok {
		return p
	}
	switch {
	case o.value != nil && l.isCodes(o.value):
		p := kernels.Operand{Kind: kernels.InCodes, Index: 1 + index(&l.codes, o)}
		if raw {
			return p
		}
		q := l.quantizers[o.value]
		step := kernels.ChainStep{Op: kernels.Decode, A: p, B: l.second(operation{loweredOp: loweredOp{quantizer: &q}}), Dst: l.row()}
		l.busy[step.Dst.Index] = true
		l.chain.Steps = append(l.chain.Steps, step)
		l.at[o.value] = step.Dst
		return step.Dst
	case o.value != nil && l.shape != nil && slices.Equal(o.value.Type.Shape, l.shape):
		return kernels.Operand{Kind: kernels.InTensor, Index: 1 + index(&l.tensors, o)}
	}
	return kernels.Operand{Kind: kernels.InValues, Index: index(&l.values, o)}
}

// index returns the index of an operand in a list, which gets it if need be.
func index(list *[]operand, o operand) int {
	i := slices.Index(*list, o)
	if i < 0 {
		i = len(*list)
		*list = append(*list, o)
	}
	return i
}

// row is a temporary row that is free.
func (l *linker) row() kernels.Operand {
	i := slices.Index(l.busy, false)
	if i < 0 {
		i = len(l.busy)
		l.busy = append(l.busy, false)
	}
	return kernels.Operand{Kind: kernels.InTemp, Index: i}
}

// read counts that a value was read, and frees its row after the last time.
func (l *linker) read(v *onnx.Value) {
	if l.reads[v]--; l.reads[v] == 0 && l.at[v].Kind == kernels.InTemp {
		l.busy[l.at[v].Index] = false
	}
}
