package onnx

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// alignment of the tensors in a data file: the largest common page size, as
// ONNX docs/ExternalData.md recommends for mapping.
const alignment = 4096

// externalFrom is the size from which SaveExternal moves a tensor out.
const externalFrom = 1024

// eachTensor visits every tensor of a model that may refer to external data.
func eachTensor(p *onnxpb.ModelProto, visit func(*onnxpb.TensorProto) error) error {
	if err := eachTensorOfGraph(p.Graph, visit); err != nil {
		return err
	}
	for _, f := range p.Functions {
		if err := eachTensorOfNodes(f.Node, visit); err != nil {
			return err
		}
		if err := eachTensorOfAttributes(f.AttributeProto, visit); err != nil {
			return err
		}
	}
	for _, t := range p.TrainingInfo {
		for _, g := range []*onnxpb.GraphProto{t.Initialization, t.Algorithm} {
			if err := eachTensorOfGraph(g, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

func eachTensorOfGraph(g *onnxpb.GraphProto, visit func(*onnxpb.TensorProto) error) error {
	if g == nil {
		return nil
	}
	tensors := g.Initializer
	for _, s := range g.SparseInitializer {
		tensors = append(tensors[:len(tensors):len(tensors)], s.Values, s.Indices)
	}
	for _, t := range tensors {
		if t == nil {
			continue
		}
		if err := visit(t); err != nil {
			return err
		}
	}
	return eachTensorOfNodes(g.Node, visit)
}

func eachTensorOfNodes(nodes []*onnxpb.NodeProto, visit func(*onnxpb.TensorProto) error) error {
	for _, n := range nodes {
		if err := eachTensorOfAttributes(n.Attribute, visit); err != nil {
			return fmt.Errorf("node %q: %w", n.GetName(), err)
		}
	}
	return nil
}

func eachTensorOfAttributes(attrs []*onnxpb.AttributeProto, visit func(*onnxpb.TensorProto) error) error {
	for _, a := range attrs {
		tensors := append([]*onnxpb.TensorProto{a.T}, a.Tensors...)
		for _, s := range append([]*onnxpb.SparseTensorProto{a.SparseTensor}, a.SparseTensors...) {
			tensors = append(tensors, s.GetValues(), s.GetIndices())
		}
		for _, t := range tensors {
			if t == nil {
				continue
			}
			if err := visit(t); err != nil {
				return err
			}
		}
		for _, g := range append([]*onnxpb.GraphProto{a.G}, a.Graphs...) {
			if err := eachTensorOfGraph(g, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// dataRange is a part of a data file. Tensors of the same range share memory.
type dataRange struct {
	location     string
	offset, size int64
}

// dataFolder reads external data from the folder of a model.
type dataFolder struct {
	root  *os.Root
	files map[string]*dataFile
	read  map[dataRange][]byte
}

type dataFile struct {
	*os.File
	size, read int64
}

// readExternal brings all external data into the message and returns the names of
// the files that they were in, sorted.
func readExternal(p *onnxpb.ModelProto, dir string) ([]string, error) {
	var folder *dataFolder
	err := eachTensor(p, func(t *onnxpb.TensorProto) error {
		if t.GetDataLocation() != onnxpb.TensorProto_EXTERNAL {
			return nil
		}
		if folder == nil {
			root, err := os.OpenRoot(dir)
			if err != nil {
				return err
			}
			folder = &dataFolder{root, map[string]*dataFile{}, map[dataRange][]byte{}}
		}
		if err := folder.load(t); err != nil {
			return fmt.Errorf("tensor %q: %w", t.GetName(), err)
		}
		return nil
	})
	if folder == nil {
		return nil, err
	}
	for _, f := range folder.files {
		f.Close()
	}
	folder.root.Close()
	return slices.Sorted(maps.Keys(folder.files)), err
}

func (d *dataFolder) load(t *onnxpb.TensorProto) error {
	at, err := rangeOf(t)
	if err != nil {
		return err
	}
	f, err := d.open(at.location)
	if err != nil {
		return err
	}
	if at.offset > f.size || at.size > f.size-at.offset {
		return fmt.Errorf("its %d bytes at offset %d go beyond the end of %q, which has %d: the file is cut off or of another model", at.size, at.offset, at.location, f.size)
	}
	data, ok := d.read[at]
	if !ok {
		// Ranges that overlap let a small file ask for any amount of memory.
		if f.read += at.size; f.read > f.size {
			return fmt.Errorf("its data in %q overlap those of another tensor", at.location)
		}
		data = make([]byte, at.size)
		if _, err := f.ReadAt(data, at.offset); err != nil {
			return fmt.Errorf("reading %d bytes at offset %d of %q: %w", at.size, at.offset, at.location, err)
		}
		d.read[at] = data
	}
	t.RawData, t.ExternalData, t.DataLocation = data, nil, nil
	return nil
}

// rangeOf reads the entries of external_data. The size follows from type and
// shape; a length that is given must agree.
func rangeOf(t *onnxpb.TensorProto) (dataRange, error) {
	var at dataRange
	typ := DataType(t.GetDataType())
	n, err := Elements(t.Dims)
	if err != nil {
		return at, err
	}
	if typ.Bits() == 0 {
		return at, fmt.Errorf("data of type %s cannot be external", typ)
	}
	at.size = typ.Bytes(n)
	for _, e := range t.ExternalData {
		switch e.GetKey() {
		case "location":
			at.location = e.GetValue()
		case "offset":
			at.offset, err = strconv.ParseInt(e.GetValue(), 10, 64)
			if err != nil || at.offset < 0 {
				return at, fmt.Errorf("the offset %q of its external data is not a number", e.GetValue())
			}
		case "length":
			length, err := strconv.ParseInt(e.GetValue(), 10, 64)
			if err != nil || length != at.size {
				return at, fmt.Errorf("the length %q of its external data is not the %d bytes of %s%v", e.GetValue(), at.size, typ, t.Dims)
			}
		}
	}
	if at.location == "" {
		return at, fmt.Errorf("its external data have no location")
	}
	return at, nil
}

func (d *dataFolder) open(location string) (*dataFile, error) {
	if f := d.files[location]; f != nil {
		return f, nil
	}
	const outside = "its data are in %q, which is not inside the model's folder: put the file there"
	if !filepath.IsLocal(location) {
		return nil, fmt.Errorf(outside, location)
	}
	info, err := d.root.Stat(location)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("its data file %q is missing: put it beside the model", location)
	case errors.Is(err, fs.ErrPermission):
		return nil, err
	case err != nil: // above all a symbolic link that leaves the folder
		return nil, fmt.Errorf(outside+" (%w)", location, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("its data %q are not a file but %s", location, fs.FormatFileInfo(info))
	}
	f, err := d.root.Open(location)
	if err != nil {
		return nil, err
	}
	d.files[location] = &dataFile{File: f, size: info.Size()}
	return d.files[location], nil
}

// largeInitializers returns the initializers of the graph and its subgraphs
// that are worth moving out.
func largeInitializers(g *onnxpb.GraphProto) []*onnxpb.TensorProto {
	var large []*onnxpb.TensorProto
	for _, t := range g.Initializer {
		if len(t.RawData) >= externalFrom {
			large = append(large, t)
		}
	}
	for _, n := range g.Node {
		for _, a := range n.Attribute {
			if a.G != nil {
				large = append(large, largeInitializers(a.G)...)
			}
		}
	}
	return large
}

// detach replaces the data of tensors by references to a file, and returns the
// data in the order of the file.
func detach(tensors []*onnxpb.TensorProto, location string) [][]byte {
	entry := func(key, value string) *onnxpb.StringStringEntryProto {
		return &onnxpb.StringStringEntryProto{Key: &key, Value: &value}
	}
	offset := int64(0)
	contents := make([][]byte, len(tensors))
	for i, t := range tensors {
		contents[i] = t.RawData
		size := int64(len(t.RawData))
		t.RawData, t.DataLocation = nil, onnxpb.TensorProto_EXTERNAL.Enum()
		t.ExternalData = []*onnxpb.StringStringEntryProto{
			entry("location", location),
			entry("offset", strconv.FormatInt(offset, 10)),
			entry("length", strconv.FormatInt(size, 10)),
		}
		offset = aligned(offset + size)
	}
	return contents
}

func aligned(offset int64) int64 { return (offset + alignment - 1) / alignment * alignment }

// writeAligned writes what detach returned, with zeros up to each offset.
func writeAligned(w io.Writer, contents [][]byte) error {
	var zeros [alignment]byte
	offset := int64(0)
	for _, data := range contents {
		pad := aligned(offset) - offset
		if err := writeAll(w, zeros[:pad]); err != nil {
			return err
		}
		if err := writeAll(w, data); err != nil {
			return err
		}
		offset += pad + int64(len(data))
	}
	return nil
}
