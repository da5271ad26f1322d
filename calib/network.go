package calib

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
	"github.com/daq-sr/daq/runtime/tile"
)

// Input is how pictures enter a network. Zero values are found out.
type Input struct {
	Range   float32 // the value of white: 1 or 255; 0 looks which one brings a shrunk picture back (RecogniseRange)
	Enlarge int     // for networks that do not enlarge by themselves (VDSR): the bicubic factor in front; 0 means 2
}

// defaultEnlarge is the factor in front of a network of scale 1.
const defaultEnlarge = 2

// Network is a super-resolution network as it sees pictures: planes go in, larger
// planes come out. It is safe for concurrent use.
type Network struct {
	Range    float32 // the value of white
	Channels int     // 3: RGB; 1: luma, Y of BT.601 in 16/255..235/255
	Scale    int     // how much larger pictures become, Enlarge included
	Enlarge  int     // bicubic enlargement in front of the network, 1 for none
	MaxBytes int64   // what a picture being enlarged may take; 0: as much as is free and of use

	program       *runtime.Program
	input, output string
	perPixel      float64       // bytes that tensors take for a pixel of the input
	tiles         *tile.Network // nil for a program that observes
	untiled       error         // why the network has no tiles
	onePass       bool          // through the tiles
}

// Open compiles a network and finds out how pictures enter it, with probe, an
// original photograph (RecogniseRange says why), where in does not say.
func Open(ctx context.Context, m *onnx.Model, in Input, o runtime.Options, probe *imaging.Image) (*Network, error) {
	channels, err := pictureChannels(m.Graph)
	if err != nil {
		return nil, err
	}
	program, err := runtime.Compile(m, o)
	if err != nil {
		return nil, err
	}
	n := &Network{
		Range: in.Range, Channels: channels, Enlarge: 1,
		program: program, input: program.Inputs()[0], output: program.Outputs()[0],
	}
	if n.Scale, err = n.findScale(ctx, probe); err != nil {
		return nil, err
	}
	n.perPixel = float64(program.PeakBytes()) / float64(probe.Width*probe.Height)
	if len(o.Observe) == 0 {
		levels := 0
		if n.tiles, n.untiled = tile.New(m, o); n.untiled == nil {
			levels, n.untiled = n.tiles.Levels(ctx, probe.Height, probe.Width)
		}
		n.onePass = n.untiled == nil && levels == 0
	}
	if n.Scale == 1 {
		n.Enlarge = in.Enlarge
		if n.Enlarge == 0 {
			n.Enlarge = defaultEnlarge
		}
		n.Scale = n.Enlarge
	} else if in.Enlarge > 1 {
		return nil, fmt.Errorf("the network enlarges by %d itself: it wants no enlargement of %d in front", n.Scale, in.Enlarge)
	}
	if n.Range == 0 {
		r, err := RecogniseRange(ctx, n.colours(probe), func(ctx context.Context, planes *imaging.Image) (*imaging.Image, error) {
			return n.run(ctx, planes, 1, nil)
		})
		if err != nil {
			return nil, err
		}
		n.Range = r.Range
	}
	return n, nil
}

// pictureChannels checks that the graph takes one picture and gives one.
func pictureChannels(g *onnx.Graph) (int, error) {
	var inputs []*onnx.Value
	for _, v := range g.Inputs {
		if v.Const == nil {
			inputs = append(inputs, v)
		}
	}
	if len(inputs) != 1 || len(g.Outputs) != 1 {
		return 0, fmt.Errorf("the network has %d inputs and %d outputs: a super-resolution network has one picture in and one out", len(inputs), len(g.Outputs))
	}
	t := inputs[0].Type
	if t.Elem != onnx.Float {
		return 0, fmt.Errorf("input %q is %s: pictures enter as float [N,C,H,W]; export the network in float32", inputs[0].Name, t)
	}
	if len(t.Shape) != 4 || t.Shape[1].Value != 1 && t.Shape[1].Value != 3 {
		return 0, fmt.Errorf("input %q is %s: want [N,C,H,W] with 3 channels (RGB) or 1 (luma)", inputs[0].Name, t)
	}
	if t.Shape[0].IsKnown() && t.Shape[0].Value != 1 {
		return 0, fmt.Errorf("input %q has a fixed batch of %d: export the network with batch 1 or a dynamic one", inputs[0].Name, t.Shape[0].Value)
	}
	return int(t.Shape[1].Value), nil
}

// Upscale enlarges a picture of any size, in tiles where it would not fit
// (Bands). A luma network enlarges Y, and Cb and Cr are enlarged bicubically, as is
// alpha. Gray stays gray. Values are not clamped: writing does that.
func (n *Network) Upscale(ctx context.Context, m *imaging.Image) (*imaging.Image, error) {
	if n.fits(m.Height, m.Width) || n.tiles == nil && n.untiled == nil {
		return n.onePiece(ctx, m)
	}
	var out *imaging.Image
	at := 0
	for band, err := range n.Bands(ctx, m, m.Width, m.Height, nil) {
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = imaging.New(m.Width*n.Scale, m.Height*n.Scale, band.Channels)
			out.Depth = m.Depth
			if band.Alpha != nil {
				out.Alpha = make([]float32, out.Width*out.Height)
			}
		}
		for c := range out.Channels {
			copy(out.Plane(c)[at:], band.Plane(c))
		}
		copy(out.Alpha[min(at, len(out.Alpha)):], band.Alpha)
		at += band.Width * band.Height
	}
	return out, nil
}

func (n *Network) onePiece(ctx context.Context, m *imaging.Image) (*imaging.Image, error) {
	out, err := n.Run(ctx, m, nil)
	if err != nil {
		return nil, err
	}
	return n.finish(out, m, func(m *imaging.Image) (*imaging.Image, error) { return imaging.Resize(m, out.Width, out.Height) })
}

// finish makes a picture of the network's output. m is what it was made of; resize
// enlarges such a picture to the size of out.
func (n *Network) finish(out, m *imaging.Image, resize func(*imaging.Image) (*imaging.Image, error)) (_ *imaging.Image, err error) {
	if n.Channels == 1 {
		if out, err = n.colour(m, out, resize); err != nil {
			return nil, err
		}
	} else if m.Channels == 1 {
		out = grayOf(out)
	}
	out.Depth = m.Depth
	if m.Alpha != nil {
		alpha := &imaging.Image{Width: m.Width, Height: m.Height, Channels: 1, Pix: m.Alpha, Depth: m.Depth}
		if alpha, err = resize(alpha); err != nil {
			return nil, err
		}
		out.Alpha = alpha.Pix
	}
	return out, nil
}

// Run puts a picture through the network and returns what comes out, as RGB or
// luma planes on the scale 0..1. watch sees the tensors that the program was
// compiled to observe.
func (n *Network) Run(ctx context.Context, m *imaging.Image, watch func(name string, t *runtime.Tensor) error) (*imaging.Image, error) {
	planes, err := n.planes(m)
	if err != nil {
		return nil, err
	}
	out, err := n.run(ctx, planes, n.Range, watch)
	if err != nil {
		return nil, err
	}
	return out, n.checkFinite(out)
}

func (n *Network) checkFinite(out *imaging.Image) error {
	for _, v := range out.Pix {
		if !finite(v) {
			return fmt.Errorf("output %q holds NaN or infinite values: the network is broken, or white is not %g at its input", n.output, n.Range)
		}
	}
	return nil
}

// colours returns RGB or luma, as the network wants.
func (n *Network) colours(m *imaging.Image) *imaging.Image {
	if n.Channels == 1 {
		return m.Y()
	}
	return m.ToRGB()
}

func (n *Network) planes(m *imaging.Image) (*imaging.Image, error) {
	in := n.colours(m)
	if n.Enlarge == 1 {
		return in, nil
	}
	return imaging.Resize(in, in.Width*n.Enlarge, in.Height*n.Enlarge)
}

// Tensor returns a picture as the network's input reads it, [1,C,H,W].
func (n *Network) Tensor(m *imaging.Image) (*runtime.Tensor, error) {
	planes, err := n.planes(m)
	if err != nil {
		return nil, err
	}
	return n.tensor(planes, n.Range)
}

func (n *Network) tensor(in *imaging.Image, white float32) (*runtime.Tensor, error) {
	pix := in.Pix
	if white != 1 {
		pix = make([]float32, len(in.Pix))
		for i, v := range in.Pix {
			pix[i] = v * white
		}
	}
	return runtime.Of([]int{1, n.Channels, in.Height, in.Width}, pix)
}

func (n *Network) run(ctx context.Context, in *imaging.Image, white float32, watch func(string, *runtime.Tensor) error) (*imaging.Image, error) {
	x, err := n.tensor(in, white)
	if err != nil {
		return nil, err
	}
	results, err := n.program.Run(ctx, map[string]*runtime.Tensor{n.input: x}, watch)
	if err != nil {
		return nil, err
	}
	y := results[n.output]
	data, ok := y.Data.([]float32)
	if !ok || len(y.Shape) != 4 || y.Shape[0] != 1 || y.Shape[1] != n.Channels {
		return nil, fmt.Errorf("output %q is %s%v: want float [1,%d,H,W] as the input", n.output, y.Type, y.Shape, n.Channels)
	}
	if white != 1 {
		for i := range data {
			data[i] /= white
		}
	}
	return &imaging.Image{Width: y.Shape[3], Height: y.Shape[2], Channels: n.Channels, Pix: data, Depth: in.Depth}, nil
}

// findScale runs the network once and compares sizes.
func (n *Network) findScale(ctx context.Context, probe *imaging.Image) (int, error) {
	in := n.colours(probe)
	out, err := n.run(ctx, in, 1, nil)
	if err != nil {
		return 0, err
	}
	scale := out.Width / in.Width
	if scale < 1 || out.Width != scale*in.Width || out.Height != scale*in.Height {
		return 0, fmt.Errorf("the network makes %dx%d pixels of %dx%d: want the same whole factor in both directions", out.Width, out.Height, in.Width, in.Height)
	}
	return scale, nil
}

// colour joins upscaled luma with bicubically enlarged chroma.
func (n *Network) colour(m, luma *imaging.Image, resize func(*imaging.Image) (*imaging.Image, error)) (*imaging.Image, error) {
	if m.Channels == 1 {
		gray := imaging.New(luma.Width, luma.Height, 1)
		for i, y := range luma.Pix {
			gray.Pix[i] = (y*255 - 16) / 219
		}
		return gray, nil
	}
	ycbcr, err := resize(m.ToYCbCr())
	if err != nil {
		return nil, err
	}
	copy(ycbcr.Plane(0), luma.Pix)
	return ycbcr.FromYCbCr()
}

func grayOf(m *imaging.Image) *imaging.Image {
	gray := imaging.New(m.Width, m.Height, 1)
	r, g, b := m.Plane(0), m.Plane(1), m.Plane(2)
	for i := range gray.Pix {
		gray.Pix[i] = (r[i] + g[i] + b[i]) / 3
	}
	return gray
}
