"""Runs two models in ONNX Runtime on the same random inputs and fails unless the outputs are equal bit by bit.

usage: same.py A.onnx B.onnx
"""
import sys

import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
a, b = (ort.InferenceSession(p, options, providers=["CPUExecutionProvider"]) for p in sys.argv[1:])
rng = np.random.default_rng(1)
feed = {}
for i in a.get_inputs():
    shape = [d if isinstance(d, int) else 4 for d in i.shape]
    feed[i.name] = rng.standard_normal(shape).astype(np.float32) if "float" in i.type else rng.integers(0, 2, shape).astype(bool)
for o, x, y in zip(a.get_outputs(), a.run(None, feed), b.run(None, feed), strict=True):
    if not np.array_equal(x, y, equal_nan=True):
        sys.exit(f"{o.name}: largest difference {np.abs(x - y).max()}")
