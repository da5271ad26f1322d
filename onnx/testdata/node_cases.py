"""Writes the models of ONNX's own operator tests into a folder, with what their outputs are in meta.json.

usage: node_cases.py FOLDER

Small integer inputs (shapes, axes, pads) become constants, and the declared types of outputs are dropped.
"""
import json
import os
import sys
import warnings

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases

warnings.filterwarnings("ignore")
folder = sys.argv[1]
meta = {}


def constant(model, index, value):
    if not isinstance(value, (np.ndarray, np.generic)) or np.size(value) > 64 or np.asarray(value).dtype.kind not in "bif":
        return False
    if model.graph.node[0].op_type in ("Resize", "ConstantOfShape", "Range") and np.size(value) <= 8:
        return True
    return index > 0 and np.asarray(value).dtype.kind in "bi"


for case in collect_testcases(None):
    if case.kind != "node" or case.model is None or not case.data_sets:
        continue
    inputs, outputs = case.data_sets[0]
    model = case.model
    want = [
        {"shape": list(np.shape(o)), "type": onnx.helper.np_dtype_to_tensor_dtype(o.dtype)}
        if isinstance(o, (np.ndarray, np.generic))
        else None
        for o in outputs
    ]
    names = [o.name for o in model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    kept = []
    for i, (info, value) in enumerate(zip(list(model.graph.input), inputs)):
        if constant(model, i, value):
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), info.name))
        else:
            kept.append(info)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    onnx.save(model, os.path.join(folder, case.name + ".onnx"))
    meta[case.name] = want
with open(os.path.join(folder, "meta.json"), "w") as f:
    json.dump(meta, f)
