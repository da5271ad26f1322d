package calib

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/runtime"
)

// Collect runs a network over pictures and adds to profile the statistics of the
// tensors it was opened to observe, each with its distribution: one, or one for
// each channel. Pictures that the profile has already are passed over. One picture
// is in memory at a time and goes in whole or not at all, so that after an error,
// ctx's included, the profile holds the pictures done so far and a later call does
// the rest. progress, which may be nil, is told how many are done.
func Collect(ctx context.Context, n *Network, profile *Profile, images *Dataset, tensors map[string][]quant.Distribution, progress func(done, total int)) error {
	if progress == nil {
		progress = func(int, int) {}
	}
	total, done := len(images.Names()), 0
	progress(done, total)
	err := images.Each(ctx, func(name string, m *imaging.Image) error {
		if err := Add(ctx, n, profile, name, m, tensors); err != nil {
			return err
		}
		done++
		progress(done, total)
		return nil
	})
	if err != nil {
		return err
	}
	return profile.Covers(slices.Sorted(maps.Keys(tensors)))
}

// Add is Collect for one picture.
func Add(ctx context.Context, n *Network, profile *Profile, name string, m *imaging.Image, tensors map[string][]quant.Distribution) error {
	source := Source{Name: name, Digest: Digest(m)}
	if profile.has(source) {
		return nil
	}
	one := NewProfile(profile.Model, profile.InputRange)
	one.Static = profile.Static
	if err := one.AddImage(source); err != nil {
		return err
	}
	_, err := n.Run(ctx, m, func(name string, t *runtime.Tensor) error {
		if err := one.observe(name, tensors[name], t); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return profile.Merge(one)
}

func (p *Profile) observe(name string, channels []quant.Distribution, t *runtime.Tensor) error {
	x, ok := t.Data.([]float32)
	if !ok || len(t.Shape) != 4 || t.Shape[0] != 1 {
		return fmt.Errorf("it is %s%v, feature maps are float [1,C,H,W]: leave its convolution out with --exclude", t.Type, t.Shape)
	}
	if len(channels) != 1 && len(channels) != t.Shape[1] {
		return fmt.Errorf("it has %d channels, %d were expected", t.Shape[1], len(channels))
	}
	whole, some := summarize(channels)
	stats, err := p.Tensor(name, whole, t.Shape[1])
	if err != nil {
		return err
	}
	stats.PostReLU = some
	return stats.Observe(x, t.Shape[2]*t.Shape[3])
}

// summarize returns the distribution of a tensor and, where channels differ,
// which of them follow a ReLU.
func summarize(channels []quant.Distribution) (whole quant.Distribution, postReLU []bool) {
	if !slices.Contains(channels, quant.Signed) {
		return quant.PostReLU, nil
	}
	if !slices.Contains(channels, quant.PostReLU) {
		return quant.Signed, nil
	}
	for _, d := range channels {
		postReLU = append(postReLU, d == quant.PostReLU)
	}
	return quant.Signed, postReLU
}
