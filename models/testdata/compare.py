"""Checks models with onnx.checker and runs them in ONNX Runtime.

Reads jobs from stdin, [{"model": PATH, "reference": PATH or "", "channels": N}],
and writes for each {"shape": output shape, "diff": largest difference to the
reference, "range": max - min of the output}.
"""
import json
import sys

import numpy as np
import onnx
import onnxruntime as ort

options = ort.SessionOptions()
options.log_severity_level = 3


def run(path, x):
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(["output"], {"input": x})[0]


results = []
for job in json.load(sys.stdin):
    onnx.checker.check_model(onnx.load(job["model"]), full_check=True)
    x = np.random.default_rng(7).random((2, job["channels"], 14, 11), np.float32)
    y = run(job["model"], x)
    want = run(job["reference"], x) if job["reference"] else y
    results.append({
        "shape": y.shape,
        "diff": float(np.abs(y - want).max()),
        "range": float(y.max() - y.min()),
    })
json.dump(results, sys.stdout)
