"""Prints the shape and type of every tensor of models run in ONNX Runtime, as JSON.

usage: shapes.py MODEL.onnx... --size HxW...
"""
import argparse
import json

import numpy as np
import onnx
import onnxruntime as ort

parser = argparse.ArgumentParser()
parser.add_argument("models", nargs="+")
parser.add_argument("--size", nargs="+", required=True)
args = parser.parse_args()


def with_all_outputs(path):
    model = onnx.load(path)
    declared = {o.name for o in model.graph.output}
    types = {v.name: v.type for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in declared:
                model.graph.output.append(onnx.ValueInfoProto(name=name, type=types.get(name)))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def measure(session, size):
    feeds = {}
    for i in session.get_inputs():
        shape = [d if isinstance(d, int) else 1 for d in i.shape]
        shape[2:] = [int(n) for n in size.split("x")]
        feeds[i.name] = np.zeros(shape, np.float32)
    names = [o.name for o in session.get_outputs()]
    return {
        name: {"shape": list(v.shape), "type": onnx.helper.np_dtype_to_tensor_dtype(v.dtype)}
        for name, v in zip(names, session.run(names, feeds))
    }


result = {}
for path in args.models:
    session = with_all_outputs(path)
    result[path] = {size: measure(session, size) for size in args.size}
print(json.dumps(result))
