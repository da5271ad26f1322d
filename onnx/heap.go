package onnx

import "container/heap"

// nodeHeap gives the node that came first in the old order.
type nodeHeap struct {
	nodes []*Node
	order map[*Node]int
}

func newHeap(order map[*Node]int) *nodeHeap { return &nodeHeap{order: order} }

func (h *nodeHeap) len() int     { return len(h.nodes) }
func (h *nodeHeap) push(n *Node) { heap.Push((*heapOrder)(h), n) }
func (h *nodeHeap) pop() *Node   { return heap.Pop((*heapOrder)(h)).(*Node) }

// heapOrder is nodeHeap as container/heap wants it.
type heapOrder nodeHeap

func (h *heapOrder) Len() int           { return len(h.nodes) }
func (h *heapOrder) Less(i, j int) bool { return h.order[h.nodes[i]] < h.order[h.nodes[j]] }
func (h *heapOrder) Swap(i, j int)      { h.nodes[i], h.nodes[j] = h.nodes[j], h.nodes[i] }
func (h *heapOrder) Push(x any)         { h.nodes = append(h.nodes, x.(*Node)) }
func (h *heapOrder) Pop() any {
	last := len(h.nodes) - 1
	n := h.nodes[last]
	h.nodes = h.nodes[:last]
	return n
}
