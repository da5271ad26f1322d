package quant

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
)

// vectors is testdata/vectors.json, which testdata/vectors.py computes in float64
// from the paper's formulas and confirms in ONNX Runtime.
type vectors struct {
	Channels    int
	Inputs      map[string][]float32
	Activations []struct {
		Dist          string
		Step          float32
		Levels        int
		QQStep        float32 `json:"qq_step"`
		QQLevels      int     `json:"qq_levels"`
		Scale, Offset []float64
		Codes         string
		MSE           float64
	}
	Weights    map[string][]float32
	DaqWeights []struct {
		Per    string
		Step   float32
		Levels int
		Scale  []float64
		Codes  string
		MSE    []float64
	} `json:"daq_weights"`
	BestWeights []struct {
		Weights string
		Levels  int
		MSE     []float64
	} `json:"best_weights"`
	Packing []struct {
		Bits          int
		Codes, Packed string
	}
}

func loadVectors(t *testing.T) (v vectors) {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t *testing.T, s string) []uint8 {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// near fails unless got is within a relative tolerance of want, or an absolute one
// of the given unit where want is the small difference of larger numbers.
func near(t *testing.T, what string, got, want, rel, unit float64) {
	t.Helper()
	if !(math.Abs(got-want) <= rel*max(math.Abs(want), unit)) {
		t.Errorf("%s = %.9g, want %.9g", what, got, want)
	}
}

func TestActivationVectors(t *testing.T) {
	v := loadVectors(t)
	zeroBased, shifted := 0, 0
	for _, c := range v.Activations {
		t.Run(fmt.Sprintf("%s/L%d/s%v/qq%d", c.Dist, c.Levels, c.Step, c.QQLevels), func(t *testing.T) {
			dist := Signed
			if c.Dist == PostReLU.String() {
				dist = PostReLU
			}
			x := v.Inputs[c.Dist]
			n := len(x) / v.Channels
			stats := make([]Stats, v.Channels)
			stds := make([]float32, v.Channels)
			for ch := range stats {
				stats[ch] = dist.Stats(x[ch*n : (ch+1)*n])
				stds[ch] = stats[ch].Std
			}
			if c.QQLevels > 0 {
				QuantizeStds(stds, c.QQStep, c.QQLevels)
			}
			want := unhex(t, c.Codes)
			var squares float64
			for ch := range stats {
				w := dist.Window(Stats{stats[ch].Mean, stds[ch]}, c.Step, c.Levels)
				near(t, "scale", float64(w.Scale), c.Scale[ch], 5e-7, slices.Max(c.Scale)) // qq adds an offset
				half := slices.Max(c.Scale) * float64(c.Levels-1) / 2
				near(t, "offset", float64(w.Offset), c.Offset[ch], 1e-6, max(half, math.Abs(float64(stats[ch].Mean))))
				if dist == PostReLU && w.Offset > 0 {
					shifted++
				} else if dist == PostReLU {
					zeroBased++
				}
				for i, value := range x[ch*n : (ch+1)*n] {
					code := w.Encode(value)
					if code != want[ch*n+i] {
						t.Errorf("channel %d value %d (%v): code %d, want %d", ch, i, value, code, want[ch*n+i])
					}
					d := float64(w.Decode(code)) - float64(value)
					squares += d * d
				}
			}
			near(t, "mse", squares/float64(len(x)), c.MSE, 5e-5, 0)
		})
	}
	if zeroBased == 0 || shifted == 0 {
		t.Errorf("post-ReLU windows: %d begin at zero, %d above: want both", zeroBased, shifted)
	}
}

func TestWeightVectors(t *testing.T) {
	v := loadVectors(t)
	w := v.Weights["small"]
	for _, c := range v.DaqWeights {
		n := len(w) / len(c.Scale)
		want := unhex(t, c.Codes)
		for ch := range c.Scale {
			row := w[ch*n : (ch+1)*n]
			of := row
			if c.Per == "tensor" {
				of = w
			}
			scale := WeightScale(of, c.Step)
			near(t, "scale", float64(scale), c.Scale[ch], 1e-6, 0)
			codes := make([]uint8, n)
			if err := EncodeWeights(codes, row, scale, c.Levels); err != nil {
				t.Fatal(err)
			}
			if string(codes) != string(want[ch*n:(ch+1)*n]) {
				t.Errorf("%s, %d levels, step %v, channel %d: codes differ", c.Per, c.Levels, c.Step, ch)
			}
			near(t, "mse", weightError(t, row, scale, c.Levels), c.MSE[ch], 1e-5, 0)
		}
	}
}

// weightError returns the mean squared error of weights encoded and decoded.
func weightError(t *testing.T, w []float32, scale float32, levels int) float64 {
	t.Helper()
	codes := make([]uint8, len(w))
	if err := EncodeWeights(codes, w, scale, levels); err != nil {
		t.Fatal(err)
	}
	window := WeightWindow(scale, levels)
	var squares float64
	for i, c := range codes {
		d := float64(window.Decode(c)) - float64(w[i])
		squares += d * d
	}
	return squares / float64(len(w))
}

// The vectors hold the least error of 4001 scales. The search tries far fewer, so
// a small tensor at many levels, whose error is all ripples, may lose a little.
func TestBestWeightVectors(t *testing.T) {
	v := loadVectors(t)
	tolerance := map[string]float64{"small": 0.05, "big": 0.01}
	for _, c := range v.BestWeights {
		w := v.Weights[c.Weights]
		n := len(w) / len(c.MSE)
		for ch, want := range c.MSE {
			row := w[ch*n : (ch+1)*n]
			got := weightError(t, row, BestWeightScale(row, c.Levels), c.Levels)
			t.Logf("%s %d levels, channel %d: %.4f of brute force", c.Weights, c.Levels, ch, got/want)
			if !(got <= want*(1+tolerance[c.Weights])) {
				t.Errorf("%s, %d levels, channel %d: error %g, brute force finds %g", c.Weights, c.Levels, ch, got, want)
			}
		}
	}
}

func TestPackVectors(t *testing.T) {
	for _, c := range loadVectors(t).Packing {
		codes := unhex(t, c.Codes)
		packed, err := Pack(codes, c.Bits)
		if err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(packed) != c.Packed {
			t.Errorf("%d bits: %s packs to %x, want %s", c.Bits, c.Codes, packed, c.Packed)
		}
		back, err := Unpack(packed, c.Bits, len(codes))
		if err != nil || string(back) != string(codes) {
			t.Errorf("%d bits: %s unpacks to %x, %v", c.Bits, c.Codes, back, err)
		}
	}
}
