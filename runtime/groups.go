package runtime

import "github.com/daq-sr/daq/runtime/kernels"

// denseGroups is the largest number of groups that integer kernels compute as one,
// with weights of zero between them: so many times the products, which Winograd in
// integers does faster than floats the products alone.
const denseGroups = 4

// dense returns a grouped convolution and its weights [Out, In/Groups, ...] as one of
// a single group, if it has few groups, and as it is otherwise.
func dense[T int16 | float32](s kernels.ConvShape, weights []T) (kernels.ConvShape, []T) {
	if s.Groups < 2 || s.Groups > denseGroups {
		return s, weights
	}
	all := make([]T, len(weights)*s.Groups)
	each := len(weights) / s.Out
	for o := range s.Out {
		group := o / (s.Out / s.Groups)
		copy(all[(o*s.Groups+group)*each:], weights[o*each:][:each])
	}
	s.Groups = 1
	return s, all
}
