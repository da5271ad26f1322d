"""Prints every message and enum of onnx as lines that onnxpb_test.go compares.

A line of a message: "Message.Nested field number type label", of an enum: "Message.Enum NAME number".
"""
import onnx
from google.protobuf.descriptor import FieldDescriptor as F

TYPES = {v: k[5:].lower() for k, v in vars(F).items() if k.startswith("TYPE_")}


def name(d):
    return d.full_name.removeprefix("onnx.")


def message(m):
    for f in m.fields:
        kind = name(f.message_type) if f.message_type else name(f.enum_type) if f.enum_type else TYPES[f.type]
        label = "repeated" if f.is_repeated else "single"
        packed = " packed" if f.GetOptions().packed else ""
        oneof = " oneof" if f.containing_oneof else ""
        print(f"{name(m)} {f.name} {f.number} {kind} {label}{packed}{oneof}")
    for e in m.enum_types:
        enum(e)
    for n in m.nested_types:
        message(n)


def enum(e):
    for v in e.values:
        print(name(e), v.name, v.number)


for m in onnx.ModelProto.DESCRIPTOR.file.message_types_by_name.values():
    message(m)
