"""Writes what ONNX Runtime computes: dump_ort.py MODEL INPUT.npy DIR [--opt all]

One .npy file for the input and for every float tensor, named after it with % escapes: the folder that
`daq compare MODEL --dump DIR` reads. Without --opt nothing is fused, so that every tensor exists.
"""
import argparse
import os
import urllib.parse

import numpy as np
import onnx
import onnxruntime as ort

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("input")
parser.add_argument("dir")
parser.add_argument("--opt", default="disabled", choices=["disabled", "all"])
args = parser.parse_args()

model = onnx.shape_inference.infer_shapes(onnx.load(args.model))
known = {o.name for o in model.graph.output}
types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
for node in model.graph.node:
    for name in node.output:
        if name and name not in known and types.get(name, onnx.TensorProto.FLOAT) == onnx.TensorProto.FLOAT:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
options = ort.SessionOptions()
options.log_severity_level = 3
options.graph_optimization_level = {"disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
                                    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL}[args.opt]
session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
x = np.load(args.input).astype(np.float32)
names = [o.name for o in session.get_outputs()]
tensors = dict(zip(names, session.run(names, {session.get_inputs()[0].name: x})))
tensors[session.get_inputs()[0].name] = x
os.makedirs(args.dir, exist_ok=True)
for name, value in tensors.items():
    if value.dtype == np.float32:
        np.save(os.path.join(args.dir, urllib.parse.quote(name, safe="") + ".npy"), np.ascontiguousarray(value))
