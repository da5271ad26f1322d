package converter

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// Version is the version of the program that made a file.
const Version = "0.1.0"

// Metadata keys of a quantized network.
const (
	metaVersion    = "daq.version"
	metaSource     = "daq.source_sha256"
	metaMethod     = "daq.method"
	metaMode       = "daq.mode"
	metaTarget     = "daq.target"
	metaRule       = "daq.step"
	metaWeights    = "daq.weight_bits"
	metaActivation = "daq.activation_bits"
	metaSigma      = "daq.sigma_bits"
	metaRange      = "daq.input_range"
	metaConvs      = "daq.convolutions"
	metaPruned     = "daq.pruned_channels"
	metaImages     = "daq.calibration_images"
)

// describe writes into the model how it was made.
func describe(m *onnx.Model, q *Quantized) {
	m.SetMeta(metaVersion, Version)
	m.SetMeta(metaSource, q.Source)
	m.SetMeta(metaMethod, "DAQ, arXiv 2012.11230")
	m.SetMeta(metaMode, string(target.Dynamic))
	if q.Plan.Mode == target.Static {
		m.SetMeta(metaMode, string(target.Static))
		m.SetMeta(metaTarget, q.Plan.Target)
	}
	m.SetMeta(metaRule, string(q.Plan.Rule))
	m.SetMeta(metaConvs, strconv.Itoa(q.Done.Convolutions))
	if q.Pruned != nil {
		gone, _ := json.Marshal(q.Pruned.gone) // maps of lists of numbers can be written
		m.SetMeta(metaPruned, string(gone))
	}
	var weights, activations []int
	for _, w := range q.Plan.Weights {
		weights = append(weights, w.Bits)
	}
	for _, a := range q.Plan.Activations {
		activations = append(append(activations, a.Bits), a.ChannelBits...)
	}
	m.SetMeta(metaWeights, span(weights))
	m.SetMeta(metaActivation, span(activations))
	if q.Plan.SigmaBits > 0 {
		m.SetMeta(metaSigma, strconv.Itoa(q.Plan.SigmaBits))
	}
	m.SetMeta(metaRange, fmt.Sprint(q.Network.Range))
	if q.Plan.Images > 0 {
		m.SetMeta(metaImages, strconv.Itoa(q.Plan.Images))
	}
}

// digest returns the SHA-256 of a model's file, as this program would write it.
func digest(m *onnx.Model) string {
	data, err := m.Encode()
	if err != nil {
		return "" // larger than protobuf allows: not identified
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// span writes bit-widths as "4" or "2-8".
func span(bits []int) string {
	if len(bits) == 0 {
		return "float"
	}
	least, most := bits[0], bits[0]
	for _, b := range bits {
		least, most = min(least, b), max(most, b)
	}
	if least == most {
		return strconv.Itoa(least)
	}
	return fmt.Sprintf("%d-%d", least, most)
}

// prunedChannels returns which channels a file says its tensors lost.
func prunedChannels(m *onnx.Model) map[string][]int {
	var gone map[string][]int
	_ = json.Unmarshal([]byte(m.Meta(metaPruned)), &gone) // none where there is nothing, or nothing of ours
	return gone
}

// rangeOf returns the input range that a quantized file states, 0 when it states
// none. At low bits it could not be recognised as reliably.
func rangeOf(m *onnx.Model) float32 {
	switch m.Meta(metaRange) {
	case "1":
		return 1
	case "255":
		return 255
	}
	return 0
}
