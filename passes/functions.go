package passes

import (
	"fmt"
	"strings"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
)

// Domain is the operator domain of the DAQ functions.
const Domain = "daq"

// domainVersion is the version of the DAQ functions' meaning.
const domainVersion = 1

// The DAQ functions in ONNX text form (arXiv 2012.11230, section 3). Statistics
// are per image and channel: [N,C,1,1] from X [N,C,H,W]. GlobalAveragePool is the
// mean over H and W in every opset, where ReduceMean changed its form in 18.
// The order of operations is that of internal/quant.
const (
	quantizeHead = `
  mean = GlobalAveragePool (X)
  centred = Sub (X, mean)
  squared = Mul (centred, centred)
  variance = GlobalAveragePool (squared)`

	// Mean and variance over the values above floor, all values or the positive
	// ones: averages over all values divided by the share of those above.
	quantizeAboveHead = `
  tiny = Constant <value = float {1e-12}> ()
  is_inside = Greater (X, floor)
  inside = Cast <to = 1> (is_inside)
  share_or_zero = GlobalAveragePool (inside)
  share = Max (share_or_zero, tiny)
  mean_of_all = GlobalAveragePool (X)
  mean = Div (mean_of_all, share)
  centred_all = Sub (X, mean)
  centred = Mul (centred_all, inside)
  squared = Mul (centred, centred)
  variance_of_all = GlobalAveragePool (squared)
  variance = Div (variance_of_all, share)`

	zeroFloor = `
  floor = Constant <value = float {0}> ()`

	// The deviation of a channel that follows a ReLU (its floor is 0) is at least a
	// share of its mean: a single positive value has none of its own.
	spread = `
  below_zero = Constant <value = float {-1}> ()
  is_relu = Greater (floor, below_zero)
  relu = Cast <to = 1> (is_relu)
  least_share = Constant <value = float {%g}> ()
  relu_mean = Mul (mean, relu)
  least_spread = Mul (relu_mean, least_share)
  own_root = Sqrt (variance)
  root = Max (own_root, least_spread)`

	ownSpread = `
  root = Sqrt (variance)`

	deviation = `
  epsilon = Constant <value = float {%g}> ()
  half = Constant <value = float {0.5}> ()
  one = Constant <value = float {1}> ()
  least = Constant <value = float {0}> ()
  deviation = Max (root, epsilon)`

	// "qq": sigma is quantized itself, over the channels of the tensor.
	quantizeDeviation = `
  across = Transpose <perm = [0, 2, 1, 3]> (deviation)
  across_mean = GlobalAveragePool (across)
  across_centred = Sub (across, across_mean)
  across_squared = Mul (across_centred, across_centred)
  across_variance = GlobalAveragePool (across_squared)
  across_root = Sqrt (across_variance)
  across_deviation = Max (across_root, epsilon)
  sigma_step = Constant <value = float {%g}> ()
  sigma_reach = Constant <value = float {%g}> ()
  sigma_top = Constant <value = float {%g}> ()
  sigma_scale = Mul (across_deviation, sigma_step)
  sigma_span = Mul (sigma_scale, sigma_reach)
  sigma_offset = Sub (across_mean, sigma_span)
  sigma_shifted = Sub (deviation, sigma_offset)
  sigma_position = Div (sigma_shifted, sigma_scale)
  sigma_raised = Add (sigma_position, half)
  sigma_floor = Floor (sigma_raised)
  sigma_at_least = Max (sigma_floor, least)
  sigma_code = Min (sigma_at_least, sigma_top)
  sigma_scaled = Mul (sigma_code, sigma_scale)
  sigma_level = Add (sigma_scaled, sigma_offset)
  sigma = Max (sigma_level, epsilon)`

	keepDeviation = `
  sigma = Identity (deviation)`

	scaleAndTop = `
  top = Sub (levels, one)
  scale = Mul (sigma, step)`

	// The window is centred on the mean. That of a post-ReLU tensor never starts
	// below zero: the paper's shift max(alpha - mu/sigma, 0).
	centredOffset = `
  reach = Mul (top, half)
  span = Mul (scale, reach)
  %s = Sub (mean, span)`
	reluOffset = `
  offset = Relu (lowest)`

	// The window starts where the calibration put it, and not below floor.
	windowOffset = `
  shift = Mul (sigma, start)
  lowest = Add (mean, shift)
  offset = Max (lowest, floor)`

	encode = `
  shifted = Sub (X, offset)
  position = Div (shifted, scale)
  raised = Add (position, half)
  whole = Floor (raised)
  at_least = Max (whole, least)
  code = Min (at_least, top)
  codes = Cast <to = 2> (code)`

	dequantizeBody = `
  numbers = Cast <to = 1> (codes)
  scaled = Mul (numbers, scale)
  Y = Add (scaled, offset)`

	// Packed codes of 2 or 4 bits for opsets that have no such type: each byte
	// [M,1] is shifted by [1,8/bits] and cut to one code.
	unpackBody = `
  shifted = BitShift <direction = "RIGHT"> (packed, shifts)
  codes_in_rows = Mod (shifted, radix)
  codes = Reshape (codes_in_rows, shape)`
)

// daqFunctions returns the model-local functions by name. sigmaBits 0 leaves
// sigma in float.
func daqFunctions(opset int64, sigmaBits int) (map[string]*onnx.Function, error) {
	sigma := keepDeviation
	if sigmaBits > 0 {
		levels := quant.Levels(sigmaBits)
		sigma = fmt.Sprintf(quantizeDeviation, quant.PaperStep(sigmaBits), float32(levels-1)/2, float32(levels-1))
	}
	scale := fmt.Sprintf(deviation, quant.Eps) + sigma + scaleAndTop
	var text strings.Builder
	fmt.Fprintf(&text, "<ir_version: %d, opset_import: [\"\" : %d, %q : %d]>\ndaq () => () {}\n", onnx.IRVersionFor(opset), opset, Domain, domainVersion)
	for _, f := range []struct{ name, in, out, body string }{
		{"Quantize", "X, step, levels", "codes, scale, offset", quantizeHead + ownSpread + scale + fmt.Sprintf(centredOffset, "offset") + encode},
		{"QuantizeRelu", "X, step, levels", "codes, scale, offset", zeroFloor + quantizeAboveHead + ownSpread + scale + fmt.Sprintf(centredOffset, "lowest") + reluOffset + encode},
		{"QuantizeWindow", "X, step, start, floor, levels", "codes, scale, offset", quantizeAboveHead + fmt.Sprintf(spread, quant.LeastSpread) + scale + windowOffset + encode},
		{"Dequantize", "codes, scale, offset", "Y", dequantizeBody},
		{"Unpack", "packed, shifts, radix, shape", "codes", unpackBody},
	} {
		fmt.Fprintf(&text, "<domain: %q, opset_import: [\"\" : %d]>\n%s (%s) => (%s)\n{%s\n}\n", Domain, opset, f.name, f.in, f.out, f.body)
	}
	m, err := onnx.Parse(text.String())
	if err != nil {
		return nil, fmt.Errorf("daq functions: %w", err)
	}
	functions := map[string]*onnx.Function{}
	for _, f := range m.Functions {
		functions[f.Name] = f
	}
	return functions, nil
}
