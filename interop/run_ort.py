"""Runs a model in ONNX Runtime: run_ort.py MODEL INPUT.npy... --out DIR

Inputs are given in the order of the model's inputs and are cast to their types.
Outputs, and the values named by --fetch, are written to DIR/<index>.npy as
float32, in the order in which DIR/names.txt lists their names.
"""
import argparse
import os

import numpy as np
import onnx
import onnxruntime as ort

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("inputs", nargs="*")
parser.add_argument("--out", required=True)
parser.add_argument("--fetch", default="", help="names of inner values, separated by commas")
parser.add_argument("--opt", default="disabled", choices=["disabled", "basic", "extended", "all"])
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_args()

model = onnx.load(args.model)
known = {o.name for o in model.graph.output}
for name in filter(None, args.fetch.split(",")):
    if name not in known:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
options = ort.SessionOptions()
options.graph_optimization_level = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}[args.opt]
options.intra_op_num_threads = args.threads
session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
         "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32,
         "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
feed = {i.name: np.load(path).astype(TYPES[i.type]) for i, path in zip(session.get_inputs(), args.inputs, strict=True)}
names = [o.name for o in session.get_outputs()]
os.makedirs(args.out, exist_ok=True)
for k, value in enumerate(session.run(names, feed)):
    np.save(os.path.join(args.out, f"{k}.npy"), np.ascontiguousarray(value, dtype=np.float32))
with open(os.path.join(args.out, "names.txt"), "w") as f:
    f.write("\n".join(names) + "\n")
