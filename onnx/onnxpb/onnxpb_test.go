package onnxpb_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gogo/protobuf/proto"
	"github.com/gogo/protobuf/protoc-gen-gogo/descriptor"
	golang "github.com/golang/protobuf/proto"
	onnxgo "github.com/owulveryck/onnx-go"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx/onnxpb"
)

func file(t *testing.T) *descriptor.FileDescriptorProto {
	t.Helper()
	zipped, _ := (&onnxpb.ModelProto{}).Descriptor()
	r, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	f := &descriptor.FileDescriptorProto{}
	if err := proto.Unmarshal(data, f); err != nil {
		t.Fatal(err)
	}
	return f
}

// lines describes the messages as testdata/descriptor.py does.
func lines(f *descriptor.FileDescriptorProto) []string {
	var out []string
	local := func(s string) string { return strings.TrimPrefix(s, ".daq.onnx.") }
	enum := func(prefix string, e *descriptor.EnumDescriptorProto) {
		for _, v := range e.Value {
			out = append(out, fmt.Sprintf("%s%s %s %d", prefix, e.GetName(), v.GetName(), v.GetNumber()))
		}
	}
	var message func(prefix string, m *descriptor.DescriptorProto)
	message = func(prefix string, m *descriptor.DescriptorProto) {
		name := prefix + m.GetName()
		for _, f := range m.Field {
			kind := local(f.GetTypeName())
			if kind == "" {
				kind = strings.ToLower(strings.TrimPrefix(f.GetType().String(), "TYPE_"))
			}
			line := fmt.Sprintf("%s %s %d %s single", name, f.GetName(), f.GetNumber(), kind)
			if f.IsRepeated() {
				line = strings.TrimSuffix(line, "single") + "repeated"
			}
			if f.GetOptions().GetPacked() {
				line += " packed"
			}
			if f.OneofIndex != nil {
				line += " oneof"
			}
			out = append(out, line)
		}
		for _, e := range m.EnumType {
			enum(name+".", e)
		}
		for _, n := range m.NestedType {
			message(name+".", n)
		}
	}
	for _, m := range f.MessageType {
		message("", m)
	}
	return out
}

// Every field and enum value that our description has is the same in Python's
// onnx, and the other way round for all that onnx has.
func TestSameFormatAsUpstream(t *testing.T) {
	out, err := exec.Command(testenv.Python(t), "testdata/descriptor.py").Output()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := lines(file(t)), strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(theirs) < 150 {
		t.Fatalf("upstream has only %d lines", len(theirs))
	}
	for _, l := range ours {
		if !slices.Contains(theirs, l) {
			t.Errorf("only ours:   %s", l)
		}
	}
	for _, l := range theirs {
		if !slices.Contains(ours, l) {
			t.Errorf("only theirs: %s", l)
		}
	}
}

// The bindings of onnx-go are registered under other names, so that both can be
// linked into one program.
func TestLinksBesideOnnxGo(t *testing.T) {
	if onnxgo.NewModel(nil) == nil { // onnx-go is really linked
		t.Fatal("no model")
	}
	for name, want := range map[string]any{"daq.onnx.ModelProto": &onnxpb.ModelProto{}, "daq.onnx.TensorProto": &onnxpb.TensorProto{}} {
		if got := proto.MessageType(name); got != reflect.TypeOf(want) {
			t.Errorf("%s is registered as %v", name, got)
		}
	}
	if got := proto.MessageType("onnx.ModelProto"); got == reflect.TypeOf(&onnxpb.ModelProto{}) {
		t.Error("onnx.ModelProto is ours: onnx-go must have this name")
	}
	if golang.MessageType("onnx.ModelProto") == nil {
		t.Error("onnx-go's ModelProto is not registered")
	}
	if f := file(t); f.GetPackage() != "daq.onnx" {
		t.Errorf("the proto package is %q", f.GetPackage())
	}
}
