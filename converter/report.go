package converter

import (
	"fmt"
	"math"

	"github.com/daq-sr/daq/internal/imaging"
)

// Quality is how close an upscaled picture comes to the original, as the SR
// literature measures it: on the 8-bit Y channel without `scale` border pixels.
type Quality struct {
	PSNR float64 `json:"psnr_y"` // dB; at most maxPSNR, which stands for equal pictures
	SSIM float64 `json:"ssim_y"` // at most 1
}

// maxPSNR stands for the infinite PSNR of equal pictures, which JSON and means
// cannot hold.
const maxPSNR = 100

// ImageReport compares one picture.
type ImageReport struct {
	Name      string  `json:"name"`
	Width     int     `json:"width"` // of the upscaled picture
	Height    int     `json:"height"`
	Float     Quality `json:"float"`
	Quantized Quality `json:"quantized"`
	Bicubic   Quality `json:"bicubic"`
	Drop      float64 `json:"drop_db"`    // float minus quantized PSNR
	MeanShift float64 `json:"mean_shift"` // quantized minus float, mean of the colour channel that moved most, in 8-bit steps
	Crop      *Crop   `json:"-"`
}

// Mean is the mean quality over the pictures.
type Mean struct {
	Float     Quality `json:"float"`
	Quantized Quality `json:"quantized"`
	Bicubic   Quality `json:"bicubic"`
}

// Report is the outcome of Validate.
type Report struct {
	Images []ImageReport `json:"images"`
	Mean   Mean          `json:"mean"`
	Drop   float64       `json:"drop_db"` // mean float minus mean quantized PSNR
	// MeanShift is that of the picture whose mean colour moved most. It tells of
	// clipped colours, which PSNR hardly notices.
	MeanShift float64 `json:"mean_shift"`
	Scale     int     `json:"scale"`
}

// Bounds are what a quantized network must keep. Zero values bound nothing.
type Bounds struct {
	MinPSNR *float64 // least mean PSNR-Y of the quantized network, dB
	MaxDrop *float64 // largest mean drop, dB
}

// Check returns an error that says which bound the report breaks.
func (r *Report) Check(b Bounds) error {
	if b.MinPSNR != nil && !(r.Mean.Quantized.PSNR >= *b.MinPSNR) {
		return fmt.Errorf("PSNR-Y %.3f dB is below the least allowed %.3f dB: use more bits or leave sensitive convolutions out with --exclude", r.Mean.Quantized.PSNR, *b.MinPSNR)
	}
	if b.MaxDrop != nil && !(r.Drop <= *b.MaxDrop) {
		return fmt.Errorf("PSNR-Y drops by %.3f dB, more than the allowed %.3f dB: use more bits or leave sensitive convolutions out with --exclude", r.Drop, *b.MaxDrop)
	}
	return nil
}

// finish takes the means.
func (r *Report) finish() {
	n := float64(len(r.Images))
	for _, i := range r.Images {
		for _, q := range []struct {
			sum *Quality
			one Quality
		}{{&r.Mean.Float, i.Float}, {&r.Mean.Quantized, i.Quantized}, {&r.Mean.Bicubic, i.Bicubic}} {
			q.sum.PSNR += q.one.PSNR / n
			q.sum.SSIM += q.one.SSIM / n
		}
	}
	for _, i := range r.Images {
		if math.Abs(i.MeanShift) > math.Abs(r.MeanShift) {
			r.MeanShift = i.MeanShift
		}
	}
	r.Drop = r.Mean.Float.PSNR - r.Mean.Quantized.PSNR
}

// meanShift returns by how much the mean of a colour channel differs between two
// pictures of a size, for the channel where it differs most, in 8-bit steps.
func meanShift(from, to *imaging.Image) (shift float64) {
	for c := range from.Channels {
		sum := 0.0
		p, q := from.Plane(c), to.Plane(c)
		for i := range p {
			sum += float64(q[i]) - float64(p[i])
		}
		if d := 255 * sum / float64(len(p)); math.Abs(d) > math.Abs(shift) {
			shift = d
		}
	}
	return shift
}
