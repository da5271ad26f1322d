package report

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/inspect"
)

func picture(name string, bicubic, float, quantized float64) converter.ImageReport {
	flat := func(v float32) *imaging.Image {
		m := imaging.New(4, 3, 3)
		for i := range m.Pix {
			m.Pix[i] = v
		}
		return m
	}
	return converter.ImageReport{
		Name: name, Width: 8, Height: 6, Drop: float - quantized,
		Bicubic: converter.Quality{PSNR: bicubic, SSIM: 0.8}, Float: converter.Quality{PSNR: float, SSIM: 0.9}, Quantized: converter.Quality{PSNR: quantized, SSIM: 0.85},
		Crop: &converter.Crop{X: 2, Y: 1, Original: flat(0.5), Bicubic: flat(0.1), Float: flat(100. / 255), Quantized: flat(97. / 255)},
	}
}

func render(t *testing.T, p Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, p); err != nil {
		t.Fatal(err)
	}
	html := b.String()
	for _, bad := range []string{"<script", "http://", "https://", "ZgotmplZ", "NaN", "%!", "<no value>"} {
		if strings.Contains(html, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for _, tag := range regexp.MustCompile(`<img [^>]*>`).FindAllString(html, -1) {
		if !strings.Contains(tag, `src="data:image/png;base64,`) || !regexp.MustCompile(`alt="[^"]{10,}"`).MatchString(tag) {
			t.Errorf("a picture without data or text: %.200s", tag)
		}
	}
	for _, tag := range []string{"section", "table", "svg", "div", "figure", "article", "g", "tr", "text", "details"} {
		opened := len(regexp.MustCompile("<"+tag+"[ >]").FindAllString(html, -1))
		if closed := strings.Count(html, "</"+tag+">"); opened != closed {
			t.Errorf("%d <%s> and %d </%s>", opened, tag, closed, tag)
		}
	}
	return html
}

func TestWrite(t *testing.T) {
	r := &converter.Report{Images: []converter.ImageReport{picture("first", 30, 32, 31.5), picture(`<script>"evil"`, 30, 29, 28)}, Scale: 2, Drop: 0.75}
	r.Mean = converter.Mean{
		Float:     converter.Quality{PSNR: 30.5, SSIM: 0.9},
		Quantized: converter.Quality{PSNR: 29.75, SSIM: 0.85},
		Bicubic:   converter.Quality{PSNR: 28.5, SSIM: 0.8},
	}
	html := render(t, Page{
		Network: "net & co", Report: r, FloatBytes: 5_600_000, QuantizedBytes: 1_400_000, Elapsed: 1500 * time.Millisecond, Version: "1.2.3",
		Layers: []inspect.Convolution{
			{Name: "head", Operator: "Conv", Weights: []int64{64, 3, 3, 3}},
			{Name: "body", Operator: "Conv", Weights: []int64{64, 64, 3, 3}, WeightBits: 2, ActivationBits: 3, Steps: []float32{0.2, 0.9, 0.4}},
			{Name: "last", Operator: "Conv", WeightBits: 4},
		},
	})
	for _, want := range []string{
		"net &amp; co", "4.0×", "1.4 MB", "5.6 MB", "0.75 dB", "1.25 dB", "−0.75", "62 %", // (29.75-28.5)/(30.5-28.5)
		"29.75", "0.8500", "&lt;script&gt;", "2- to 4-bit weights, 3-bit activations in 2 of 3 convolutions", "64×64×3×3",
		"median step 0.400, 0.200 to 0.900", "compared in 1.5 s", "made by daq 1.2.3", "4×3 pixels at 2, 1 of 8×6",
		"on average 3.0 and at most 3 of 255",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(html, "<img "); n != 10 {
		t.Errorf("%d pictures, want 10", n)
	}
	// The fifth picture is the difference, ten times as bright.
	sources := regexp.MustCompile(`base64,([^"]+)"`).FindAllStringSubmatch(strings.ReplaceAll(html, "&#43;", "+"), -1)
	data, err := base64.StdEncoding.DecodeString(sources[4][1])
	if err != nil {
		t.Fatal(err)
	}
	m, err := imaging.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if got := imaging.Code8(m.Pix[0]); m.Width != 4 || m.Height != 3 || got != 30 {
		t.Errorf("difference %dx%d of %d, want 4x3 of 30", m.Width, m.Height, got)
	}
}

func TestWriteLittle(t *testing.T) {
	one := picture("only", 30, 30, 30)
	one.Crop = nil
	html := render(t, Page{Network: "n", Report: &converter.Report{Images: []converter.ImageReport{one}, Scale: 3}})
	for _, unwanted := range []string{"<img", "Quantized convolutions", "<dt>File", "compared in"} {
		if strings.Contains(html, unwanted) {
			t.Errorf("the page has %q", unwanted)
		}
	}
}

func TestWriteShowsTheWorstOfMany(t *testing.T) {
	r := &converter.Report{Scale: 2}
	for i := range 40 {
		r.Images = append(r.Images, picture(fmt.Sprintf("p%02d", i), 30, 33, 33-float64(i)/10))
	}
	html := render(t, Page{Network: "n", Report: r})
	if n := strings.Count(html, "<article"); n != mostPictures {
		t.Errorf("%d pictures, want %d", n, mostPictures)
	}
	if !strings.Contains(html, "<h3>p39</h3>") || strings.Contains(html, "<h3>p00</h3>") || !strings.Contains(html, ">p00</th>") || !strings.Contains(html, "24 more are in the table") {
		t.Error("not the pictures with the largest drop, or the table is cut")
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 791586: "791.6 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 5_500_000: "5.5 MB", 3_000_000_000: "3.0 GB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct{ least, most float64 }{{0, 1.6}, {-0.3, 4}, {0, 0.5}, {-20, 3}, {0, 0.0123}} {
		ticks := ticksOf(c.least, c.most)
		if len(ticks) < 3 || len(ticks) > 7 || ticks[0] < c.least || ticks[len(ticks)-1] > c.most*1.001 {
			t.Errorf("%v to %v: %v", c.least, c.most, ticks)
		}
	}
}
