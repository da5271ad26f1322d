"""Talks with onnx.parser and onnx.printer for text_test.go.

usage: text.py parse IN.txt OUT.onnx   parse text into a model
       text.py print IN.onnx OUT.txt   print a model as text
       text.py equal A.onnx B.onnx     fail unless both say the same, tensors compared by value
"""
import difflib
import sys

import onnx
from onnx import numpy_helper, parser, printer


def tensors(message):
    """Yields every TensorProto inside a message."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for m in value if field.is_repeated else [value]:
            yield from tensors(m)


def clear_empty(message):
    """Removes empty strings, which mean the same as missing ones."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for m in value if field.is_repeated else [value]:
                clear_empty(m)
        elif not field.is_repeated and value == "":
            message.ClearField(field.name)


def canonical(path):
    """Loads a model and brings what has several spellings into one."""
    m = onnx.load(path, load_external_data=False)
    clear_empty(m)
    for t in tensors(m):
        if t.data_type == onnx.TensorProto.STRING or t.data_location == onnx.TensorProto.EXTERNAL:
            continue
        raw = numpy_helper.to_array(t)
        for f in ["raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"]:
            t.ClearField(f)
        t.raw_data = repr((raw.dtype, raw.shape)).encode() + raw.tobytes()
    return m


command, a, b = sys.argv[1:]
if command == "parse":
    onnx.save(parser.parse_model(open(a, encoding="utf-8").read()), b)
elif command == "print":
    open(b, "w", encoding="utf-8").write(printer.to_text(onnx.load(a)))
elif command == "equal":
    x, y = canonical(a), canonical(b)
    if x != y:
        sys.exit("\n".join(difflib.unified_diff(str(x).split("\n"), str(y).split("\n"), a, b, lineterm="")))
