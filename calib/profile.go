package calib

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"sort"

	"github.com/daq-sr/daq/internal/atomicfile"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/quant"
)

// Profile holds the statistics of a network's tensors over a set of images.
// Profiles of disjoint sets merge into the very bytes of one run.
type Profile struct {
	Model      string   // digest of the network, hexadecimal
	Static     bool     // histograms are of the values themselves, not normalised for each image
	InputRange float32  // the value of white at the network's input: 1 or 255
	Images     []Source // sorted
	Tensors    map[string]*TensorStats
}

// Source identifies an image that went into a profile.
type Source struct {
	Name   string `json:"name"`
	Digest string `json:"digest"` // Digest of the picture
}

// Digest returns the hexadecimal SHA-256 of a picture's size and samples: the
// same for the same picture in another file format.
func Digest(m *imaging.Image) string {
	h := sha256.New()
	buf := make([]byte, 0, 1<<12)
	for _, v := range []int{m.Width, m.Height, m.Channels} {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(v))
	}
	for _, v := range m.Pix {
		if len(buf)+4 > cap(buf) {
			h.Write(buf)
			buf = buf[:0]
		}
		buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
	}
	h.Write(buf)
	return hex.EncodeToString(h.Sum(nil))
}

// NewProfile returns a profile without images.
func NewProfile(model string, inputRange float32) *Profile {
	return &Profile{Model: model, InputRange: inputRange, Tensors: make(map[string]*TensorStats)}
}

// AddImage notes that an image goes in; every tensor is then to observe it once.
// The same image under the same name is refused.
func (p *Profile) AddImage(s Source) error {
	at, found := p.find(s)
	if found {
		return fmt.Errorf("image %s is in the profile already", s.Name)
	}
	p.Images = slices.Insert(p.Images, at, s)
	return nil
}

// Pictures returns how many pictures that were given went in, whole or in pieces.
func (p *Profile) Pictures() int {
	count := 0
	for i, s := range p.Images {
		if s.Name != ColoursName && (i == 0 || s.Name != p.Images[i-1].Name) {
			count++
		}
	}
	return count
}

func (p *Profile) find(s Source) (at int, found bool) {
	return slices.BinarySearchFunc(p.Images, s, compareSources)
}

func (p *Profile) has(s Source) bool {
	_, found := p.find(s)
	return found
}

func compareSources(a, b Source) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest))
}

// Tensor returns the statistics of a tensor, new ones when the name is.
func (p *Profile) Tensor(name string, d quant.Distribution, channels int) (*TensorStats, error) {
	t, ok := p.Tensors[name]
	if !ok {
		t = NewTensorStats(d, channels)
		t.static = p.Static
		p.Tensors[name] = t
	}
	if t.Distribution != d || len(t.Channels) != channels {
		return nil, fmt.Errorf("tensor %q has %d %v channels in the profile, not %d %v ones", name, len(t.Channels), t.Distribution, channels, d)
	}
	return t, nil
}

// Names returns the tensors' names, sorted.
func (p *Profile) Names() []string {
	names := make([]string, 0, len(p.Tensors))
	for name := range p.Tensors {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Covers returns an error unless the profile has statistics of all the tensors.
func (p *Profile) Covers(tensors []string) error {
	for _, name := range tensors {
		if p.Tensors[name] == nil {
			return fmt.Errorf("there are no statistics of tensor %q: calibrate with the same --layers, --include and --exclude", name)
		}
	}
	return nil
}

// Without returns the profile of a network that lost these channels, by tensor. The statistics
// are shared.
func (p *Profile) Without(channels map[string][]int) *Profile {
	left := *p
	left.Tensors = maps.Clone(p.Tensors)
	for name, lost := range channels {
		if t := p.Tensors[name]; t != nil {
			left.Tensors[name] = t.without(lost)
		}
	}
	return &left
}

// Merge adds the images of q, a profile of the same network. The result does not
// depend on how images were shared out or in which order profiles were merged.
// On an error p is unchanged; q never changes.
func (p *Profile) Merge(q *Profile) error {
	switch {
	case p.Model != q.Model:
		return fmt.Errorf("cannot merge profiles of different networks (%.12s, %.12s)", p.Model, q.Model)
	case p.Static != q.Static:
		return fmt.Errorf("cannot merge profiles for dynamic and for static quantization")
	case p.InputRange != q.InputRange:
		return fmt.Errorf("cannot merge profiles of input range %v and %v", p.InputRange, q.InputRange)
	}
	if len(q.Images) == 0 {
		return nil
	}
	for _, s := range q.Images {
		if p.has(s) {
			return fmt.Errorf("cannot merge profiles: image %s is in both", s.Name)
		}
	}
	if len(p.Images) > 0 {
		for _, name := range append(p.Names(), q.Names()...) {
			a, b := p.Tensors[name], q.Tensors[name]
			if a == nil || b == nil || a.Distribution != b.Distribution || !slices.Equal(a.PostReLU, b.PostReLU) || len(a.Channels) != len(b.Channels) {
				return fmt.Errorf("cannot merge profiles: tensor %q is not the same in both", name)
			}
		}
	}
	for _, name := range q.Names() {
		from := q.Tensors[name]
		to, err := p.Tensor(name, from.Distribution, len(from.Channels))
		if err != nil {
			return fmt.Errorf("cannot merge profiles: %w", err)
		}
		to.PostReLU = from.PostReLU
		if err := to.Merge(from); err != nil {
			return fmt.Errorf("cannot merge profiles: tensor %q: %w", name, err)
		}
	}
	p.Images = append(p.Images, q.Images...)
	slices.SortFunc(p.Images, compareSources)
	return nil
}

// A profile file is gzip'd JSON, one value a line: the header, then each tensor,
// sorted by name. (Look inside with zcat.)
const profileVersion = 2

// Limits on what a file may make us allocate.
const (
	maxLine     = 1 << 26 // bytes of one line (4096 channels need some 16 MB)
	maxChannels = 1 << 14
)

type profileHeader struct {
	Format     string   `json:"format"`
	Version    int      `json:"version"`
	Model      string   `json:"model"`
	Static     bool     `json:"static,omitempty"`
	InputRange float32  `json:"input_range"`
	Tensors    int      `json:"tensors"`
	Images     []Source `json:"images"`
}

type profileTensor struct {
	Name string `json:"name"`
	*TensorStats
}

// Write writes the file form. A profile whose tensors have not all observed
// every image is an error: statistics were collected wrongly.
func (p *Profile) Write(w io.Writer) error {
	if err := p.check(); err != nil {
		return err
	}
	z := gzip.NewWriter(w)
	enc := json.NewEncoder(z)
	enc.SetEscapeHTML(false)
	header := profileHeader{"daq profile", profileVersion, p.Model, p.Static, p.InputRange, len(p.Tensors), p.Images}
	if err := enc.Encode(header); err != nil {
		return err
	}
	for _, name := range p.Names() {
		if err := enc.Encode(profileTensor{name, p.Tensors[name]}); err != nil {
			return err
		}
	}
	return z.Close()
}

// Save writes the file atomically.
func (p *Profile) Save(path string) error {
	err := atomicfile.Write(path, func(w io.Writer) error {
		b := bufio.NewWriter(w)
		if err := p.Write(b); err != nil {
			return err
		}
		return b.Flush()
	})
	if err != nil {
		return fmt.Errorf("cannot write profile %s: %w", path, err)
	}
	return nil
}

// Load reads a profile file and checks it.
func Load(path string) (*Profile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read profile: %w", err)
	}
	defer f.Close()
	p, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("cannot read profile %s: %w", path, err)
	}
	return p, nil
}

// Read reads what Write wrote, of any origin: it never panics, and a line, a
// count, a sum and a bin are bounded before they are used.
func Read(r io.Reader) (*Profile, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, errors.New("not a profile: want gzip'd JSON lines from `daq calibrate`")
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, maxLine)
	next := func(v any) error {
		if !lines.Scan() {
			if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				return err
			}
			return errors.New("the file is truncated")
		}
		dec := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		dec.DisallowUnknownFields()
		if err := dec.Decode(v); err != nil {
			return fmt.Errorf("not a profile: %w", err)
		}
		return nil
	}
	var h profileHeader
	if err := next(&h); err != nil {
		return nil, err
	}
	if h.Format != "daq profile" || h.Version != profileVersion {
		return nil, fmt.Errorf("format %.20q version %d: want \"daq profile\" version %d", h.Format, h.Version, profileVersion)
	}
	p := NewProfile(h.Model, h.InputRange)
	p.Images, p.Static = h.Images, h.Static
	for i := range h.Tensors {
		t := profileTensor{TensorStats: new(TensorStats)}
		if err := next(&t); err != nil {
			return nil, fmt.Errorf("tensor %d: %w", i, err)
		}
		if t.TensorStats == nil || p.Tensors[t.Name] != nil {
			return nil, fmt.Errorf("tensor %q is there twice or empty", t.Name)
		}
		p.Tensors[t.Name] = t.TensorStats
	}
	if lines.Scan() {
		return nil, errors.New("there is more after the last tensor")
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("the file is damaged: %w", err)
	}
	return p, p.check()
}

// check holds what must be true of every profile, whoever made it.
func (p *Profile) check() error {
	if !finite(p.InputRange) || p.InputRange <= 0 {
		return fmt.Errorf("input range %v is not positive", p.InputRange)
	}
	for i := 1; i < len(p.Images); i++ {
		if compareSources(p.Images[i-1], p.Images[i]) >= 0 {
			return fmt.Errorf("image %s is there twice or not in order", p.Images[i].Name)
		}
	}
	for _, name := range p.Names() {
		t := p.Tensors[name]
		if t.Distribution != quant.Signed && t.Distribution != quant.PostReLU {
			return fmt.Errorf("tensor %q: unknown distribution %d", name, t.Distribution)
		}
		if len(t.Channels) == 0 || len(t.Channels) > maxChannels {
			return fmt.Errorf("tensor %q has %d channels: want 1 to %d", name, len(t.Channels), maxChannels)
		}
		if n := len(t.PostReLU); n != 0 && n != len(t.Channels) {
			return fmt.Errorf("tensor %q has %d channels and tells of %d what they follow", name, len(t.Channels), n)
		}
		for c := range t.Channels {
			if err := t.Channels[c].check(len(p.Images)); err != nil {
				return fmt.Errorf("tensor %q, channel %d: %w", name, c, err)
			}
		}
	}
	return nil
}

func (s *ChannelStats) check(images int) error {
	if s.Images != int64(images) {
		return fmt.Errorf("observed %d of %d images", s.Images, images)
	}
	for _, n := range []int64{s.Flat, s.NonFinite, s.Zeros, s.All.Count, s.Positive.Count} {
		if n < 0 || n > maxCount {
			return fmt.Errorf("count %d is out of range", n)
		}
	}
	positiveAndZero := s.Positive.Count + s.Zeros
	if s.Flat > s.Images || positiveAndZero > s.All.Count || s.Z.Count() > s.All.Count {
		return errors.New("counts contradict each other")
	}
	if !finite(s.Min) || !finite(s.Max) || s.Min > s.Max || !(s.MinStd >= 0) || !(s.MinStd <= s.MaxStd) || math.IsInf(s.MaxStd, 0) {
		return errors.New("minimum and maximum contradict each other")
	}
	for _, sum := range []*Sum{&s.All.Squares, &s.All.Within, &s.Positive.Squares, &s.Positive.Within, &s.Variances} {
		if sum.mantissa.Sign() < 0 {
			return errors.New("a sum of squares is negative")
		}
	}
	return nil
}
