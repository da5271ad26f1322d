"""Writes the node tests of the ONNX backend test suite (package onnx) into a folder:

DIR/<test>/model.onnx      the model of the test
DIR/<test>/data_<k>.onnx   a graph whose initializers are the inputs "in/<name>" and the
                           expected outputs "out/<name>" of data set k
DIR/<test>/tolerance.txt   relative and absolute tolerance

Tests with inputs or outputs that are no tensors (sequences, optionals) get the file
DIR/<test>/not_tensors instead of data.
"""
import os
import sys
import warnings

import numpy as np
import onnx
from onnx import helper, numpy_helper

warnings.filterwarnings("ignore")
from onnx.backend.test.loader import load_model_tests  # noqa: E402

import ml_dtypes  # noqa: E402,F401


def tensor(value, name):
    if isinstance(value, onnx.TensorProto):
        copy = onnx.TensorProto()
        copy.CopyFrom(value)
        copy.name = name
        return copy
    return numpy_helper.from_array(np.asarray(value), name)


out = sys.argv[1]
for case in load_model_tests(kind="node"):
    folder = os.path.join(out, case.name)
    os.makedirs(folder)
    onnx.save(case.model, os.path.join(folder, "model.onnx"))
    with open(os.path.join(folder, "tolerance.txt"), "w") as f:
        f.write(f"{case.rtol} {case.atol}\n")
    graph = case.model.graph
    values = list(graph.input) + list(graph.output)
    if any(not v.type.HasField("tensor_type") for v in values):
        open(os.path.join(folder, "not_tensors"), "w").close()
        continue
    for k, (inputs, outputs) in enumerate(case.data_sets):
        tensors = [tensor(v, "in/" + i.name) for v, i in zip(inputs, graph.input)]
        tensors += [tensor(v, "out/" + o.name) for v, o in zip(outputs, graph.output)]
        data = helper.make_graph([], "data", [], [], tensors)
        onnx.save(helper.make_model(data), os.path.join(folder, f"data_{k}.onnx"))
