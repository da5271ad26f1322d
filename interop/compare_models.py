"""Runs pairs of ONNX models in ONNX Runtime on the same random input and prints how far they differ, as JSON.

usage: compare_models.py A.onnx B.onnx [C.onnx D.onnx ...] [--size HxW ...] [--range R] [--seed N] [--batch N] [--optimize] [--check]

One object for each pair and size: {"a", "b", "size", "max_abs_diff", "range", "relative", "mean_abs_diff"}; "range" is
max - min of the output of A, "relative" is max_abs_diff / range. A model with several outputs gives the worst of them.
Inputs of rank 4 get the sizes as H and W, free dimensions elsewhere the batch size. Graphs run as written unless
--optimize asks for ONNX Runtime's own rewrites. --check runs onnx.checker with full_check on the second of each pair.
"""
import argparse
import json
import sys

import numpy as np
import onnx
import onnxruntime as ort

TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}


def open_session(path, optimize):
    options = ort.SessionOptions()
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def random_input(info, size, args, rng):
    shape = [d if isinstance(d, int) else args.batch for d in info.shape]
    if len(shape) == 4:
        free = [not isinstance(d, int) for d in info.shape]
        shape[2:] = [size[i] if free[2 + i] else shape[2 + i] for i in range(2)]
    values = rng.random(shape) * args.range + args.low
    return np.asarray(values, TYPES[info.type])


def compare(a, b, size, args):
    rng = np.random.default_rng(args.seed)
    feeds = {i.name: random_input(i, size, args, rng) for i in a.get_inputs()}
    names = [i.name for i in b.get_inputs()]
    if sorted(names) != sorted(feeds):
        sys.exit(f"the models have other inputs: {sorted(feeds)} and {sorted(names)}")
    result = {"max_abs_diff": 0.0, "mean_abs_diff": 0.0, "range": 0.0, "relative": 0.0}
    outputs_a, outputs_b = a.run(None, feeds), b.run(None, feeds)
    if len(outputs_a) != len(outputs_b):
        sys.exit(f"the models have {len(outputs_a)} and {len(outputs_b)} outputs")
    for x, y in zip(outputs_a, outputs_b):
        if x.shape != y.shape or x.dtype != y.dtype:
            sys.exit(f"the outputs are {x.dtype}{x.shape} and {y.dtype}{y.shape}")
        x, y = x.astype(np.float64), y.astype(np.float64)
        both_nan = np.isnan(x) & np.isnan(y)
        diff = np.where(both_nan | (x == y), 0, np.abs(x - y))
        spread = float(np.ptp(x[np.isfinite(x)])) if np.isfinite(x).any() else 0.0
        worst = float(diff.max()) if diff.size else 0.0
        relative = worst / spread if spread > 0 else worst
        if relative >= result["relative"]:
            mean = float(diff.mean()) if diff.size else 0.0
            result = {"max_abs_diff": worst, "mean_abs_diff": mean, "range": spread, "relative": relative}
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", help="pairs of files")
    parser.add_argument("--size", nargs="+", default=["32x40"])
    parser.add_argument("--range", type=float, default=1.0, help="size of the interval of input values")
    parser.add_argument("--low", type=float, default=0.0, help="lowest input value")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--optimize", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if len(args.models) % 2:
        parser.error("an even number of models is needed")
    results = []
    for path_a, path_b in zip(args.models[::2], args.models[1::2]):
        if args.check:
            try:
                onnx.checker.check_model(path_b, full_check=True)
            except Exception as e:
                sys.exit(f"{path_b}: {e}")
        try:
            a, b = open_session(path_a, args.optimize), open_session(path_b, args.optimize)
        except Exception as e:
            sys.exit(f"{path_a} and {path_b}: {e}")
        for size in args.size:
            try:
                result = compare(a, b, [int(n) for n in size.split("x")], args)
            except Exception as e:
                sys.exit(f"{path_a} and {path_b}: {e}")
            results.append({"a": path_a, "b": path_b, "size": size, **result})
    print(json.dumps(results, indent=1))


main()
