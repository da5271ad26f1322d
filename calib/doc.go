// Package calib turns pictures into statistics of a network's tensors.
//
// A Dataset or Pairs yields pictures one at a time. TensorStats observes one
// tensor of one image at a time, channel by channel, and keeps nothing of the
// image but sums and counts, so memory depends on neither the number of images
// nor their size. A Profile holds the statistics of all tensors and the list of
// images they come from.
//
// # Shards add up exactly
//
// Profiles made of parts of a dataset, anywhere, merge into the very bytes of
// one run over all of it, in whatever order. Floating-point sums would depend on
// the order, so there are none across images. What an image contributes is
// rounded once to float64, computed in a fixed order; contributions are then
// added exactly, as integers times a power of two (Sum). Exact addition is
// associative and commutative, as are integer counts, minimum and maximum. Means
// and variances are derived from the sums only when asked for.
//
// # Normalised histograms
//
// Distribution-aware quantization scales every channel of every image by its own
// mean and standard deviation, so what decides about the step is the
// distribution of z = (x-mean)/std with the statistics of that image. For tensors
// that follow a ReLU z = x/std, and mean and std are those of the positive
// values (quant.Distribution). Histogram counts z in bins of width 1/64 below 1,
// 1/32 up to 3, 1/16 up to 7, doubling on: fine where the mass is, reaching as
// far as any value can lie. The bins go to quant.NewHistogram, whose error of a
// step takes each bin's mass as evenly spread.
package calib
