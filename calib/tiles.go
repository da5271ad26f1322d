package calib

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/runtime"
	"github.com/daq-sr/daq/runtime/tile"
)

// Pixels is a picture whose parts can be looked at.
type Pixels interface {
	Region(x, y, width, height int) *imaging.Image
}

// fits reports whether a picture goes through the network in one piece.
func (n *Network) fits(height, width int) bool {
	pixels := float64(height*n.Enlarge) * float64(width*n.Enlarge)
	// Besides its tensors: the picture as input and output, both float32.
	return pixels*(n.perPixel+n.picturesPerPixel()) <= float64(n.limit())
}

// enough is the memory that a network without statistics is given of itself: more
// makes tiles larger, which gains nothing.
const enough = 1 << 30

// limit returns MaxBytes, or what is meant by 0.
func (n *Network) limit() int64 {
	limit := n.MaxBytes
	if limit == 0 {
		if limit = runtime.FreeMemory() / 4 * 3; n.onePass {
			limit = min(limit, enough)
		}
	}
	return limit
}

// picturesPerPixel is what input, output and the output as a picture take.
func (n *Network) picturesPerPixel() float64 {
	own := n.Scale / n.Enlarge
	return float64(4 * (n.Channels + 2*3*own*own))
}

// Bands enlarges a picture of any size and yields it from top to bottom in bands
// of its full width, or an error in the end. Only parts of
// it are in memory: MaxBytes bounds them all together. A picture that does not fit
// goes through the network in tiles (package tile), which gives what one piece
// does. progress, which may be nil, is told how many tiles are done.
func (n *Network) Bands(ctx context.Context, src Pixels, width, height int, progress func(done, total int)) iter.Seq2[*imaging.Image, error] {
	return func(yield func(*imaging.Image, error) bool) {
		if err := n.bands(ctx, src, width, height, yield, progress); err != nil && err != errStopped {
			yield(nil, err)
		}
	}
}

// errStopped says that nobody wants further bands.
var errStopped = errors.New("stopped")

func (n *Network) bands(ctx context.Context, src Pixels, width, height int, yield func(*imaging.Image, error) bool, progress func(done, total int)) error {
	if n.fits(height, width) {
		out, err := n.onePiece(ctx, src.Region(0, 0, width, height))
		if err != nil {
			return err
		}
		if progress != nil {
			progress(1, 1)
		}
		yield(out, nil)
		return nil
	}
	job, err := n.plan(ctx, height, width)
	if err != nil {
		return err
	}
	// What is collected of a row of tiles, as planes of the network's output.
	var band *imaging.Image
	own := n.Scale / n.Enlarge
	read := func(r tile.Rect, dst []float32) error {
		part, err := n.part(src, width, height, r)
		if err != nil {
			return err
		}
		for i, v := range part.Pix {
			dst[i] = v * n.Range
		}
		return nil
	}
	write := func(r tile.Rect, planes []float32) error {
		h, w := r.Height*own, r.Width*own
		if r.X == 0 {
			band = imaging.New(width*n.Scale, h, n.Channels)
		}
		for c := range n.Channels {
			for y := range h {
				row := band.Plane(c)[y*band.Width+r.X*own:][:w]
				for i, v := range planes[(c*h+y)*w:][:w] {
					row[i] = v / n.Range
				}
			}
		}
		if (r.X+r.Width)*own < band.Width {
			return nil
		}
		if err := n.checkFinite(band); err != nil {
			return err
		}
		m, resize := around(src, width, height, n.Scale, tile.Rect{Y: r.Y * own, Width: band.Width, Height: h})
		finished, err := n.finish(band, m, resize)
		if err != nil {
			return err
		}
		if !yield(finished, nil) {
			return errStopped
		}
		return nil
	}
	return job.Run(ctx, read, write, progress)
}

// plan divides a picture into tiles.
func (n *Network) plan(ctx context.Context, height, width int) (*tile.Job, error) {
	if n.tiles == nil || n.untiled != nil {
		return nil, fmt.Errorf("a picture of %dx%d pixels needs more than the %d MiB of memory there are: %w", width, height, n.limit()>>20, n.untiled)
	}
	limit := n.limit()
	// Half for the tensors, a quarter for the bands that tiles are joined to.
	perRow := int64(width*n.Enlarge) * int64(n.picturesPerPixel())
	rows := int(limit / 4 / perRow)
	if rows < 1 {
		return nil, fmt.Errorf("%d MiB of memory are too little for rows of %d pixels", limit>>20, width)
	}
	job, err := n.tiles.Plan(ctx, height*n.Enlarge, width*n.Enlarge, limit/2, rows, 0)
	if err != nil {
		return nil, err
	}
	if own := n.Scale / n.Enlarge; job.Scale != [2]int{own, own} {
		return nil, fmt.Errorf("the network enlarges %v in tiles, %d in one piece", job.Scale, own)
	}
	return job, nil
}

// margin is how many pixels around a part bicubic enlargement looks at, and more.
const margin = 4

// part returns the network's input for part r of the picture, which for networks
// behind bicubic enlargement is counted in enlarged pixels.
func (n *Network) part(src Pixels, width, height int, r tile.Rect) (*imaging.Image, error) {
	if n.Enlarge == 1 {
		return n.colours(src.Region(r.X, r.Y, r.Width, r.Height)), nil
	}
	m, resize := around(src, width, height, n.Enlarge, r)
	return resize(n.colours(m))
}

// around returns the pixels that part r of the picture enlarged bicubically by
// factor is made of, and what makes it of them or of a picture like them.
func around(src Pixels, width, height, factor int, r tile.Rect) (*imaging.Image, func(*imaging.Image) (*imaging.Image, error)) {
	x0, y0 := max(r.X/factor-margin, 0), max(r.Y/factor-margin, 0)
	x1, y1 := min((r.X+r.Width-1)/factor+1+margin, width), min((r.Y+r.Height-1)/factor+1+margin, height)
	return src.Region(x0, y0, x1-x0, y1-y0), func(m *imaging.Image) (*imaging.Image, error) {
		large, err := imaging.Resize(m, m.Width*factor, m.Height*factor)
		if err != nil {
			return nil, err
		}
		return large.Region(r.X-x0*factor, r.Y-y0*factor, r.Width, r.Height), nil
	}
}
