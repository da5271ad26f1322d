"""Says what ONNX Runtime does with graphs: ort.py MODEL.onnx...

For each model, as one JSON list: the error when a session cannot be made at the default optimization level (null when it
can), the same with optimization disabled, the nodes of the optimized graph (operator and names of outputs), and
the largest difference between the outputs of the two levels with its range, on random inputs in -1..1 (dynamic
dimensions are 8).
"""
import json
import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32,
         "tensor(int64)": np.int64, "tensor(float16)": np.float16}


def session(path, level, optimized=""):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    if optimized:
        options.optimized_model_filepath = optimized
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]), None
    except Exception as e:  # ORT raises classes of its own
        return None, str(e).splitlines()[0]


def random_inputs(s):
    rng = np.random.default_rng(0)
    return {i.name: rng.uniform(-1, 1, [d if isinstance(d, int) else 8 for d in i.shape]).astype(TYPES[i.type])
            for i in s.get_inputs()}


def run(s):
    try:
        return [np.asarray(y, np.float64) for y in s.run(None, random_inputs(s))], None
    except Exception as e:
        return None, str(e).splitlines()[0]


def effect(path, folder):
    optimized = os.path.join(folder, "optimized.onnx")
    fast, error = session(path, ort.GraphOptimizationLevel.ORT_ENABLE_ALL, optimized)
    plain, plain_error = session(path, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    out = {"error": error, "plain_error": plain_error, "run_error": None, "nodes": [], "difference": 0, "range": 0}
    if fast:
        out["nodes"] = [{"op": n.op_type, "name": n.name, "inputs": list(n.input), "outputs": list(n.output)}
                        for n in onnx.load(optimized, load_external_data=False).graph.node]
        a, out["run_error"] = run(fast)
    if fast and plain and a is not None:
        b, _ = run(plain)
        if b is not None:
            out["difference"] = max(float(np.nan_to_num(np.abs(x - y), nan=0).max()) for x, y in zip(a, b))
            out["range"] = max(float(np.nan_to_num(y).max() - np.nan_to_num(y).min()) for y in b)
    return out


with tempfile.TemporaryDirectory() as folder:
    json.dump({"version": ort.__version__, "models": [effect(path, folder) for path in sys.argv[1:]]}, sys.stdout)
