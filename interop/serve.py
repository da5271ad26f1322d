"""Runs networks in another runtime on command, so that a Go program can take turns with it: serve.py RUNTIME

RUNTIME is ort, openvino, tract or reference (onnx.reference). The first line on stdout is {"version": TEXT}. Then each
line of stdin is one JSON object, answered by one on stdout:
{"open": MODEL, "input": FILE.npy, "output": FILE.npy, "threads": N, "level": L}
           loads a model, runs it once, keeps its output and answers {"id": I, "nodes": [{"op": NAME, ...}]},
           the graph that the runtime has made of the model, where it tells; ORT's with names, inputs and outputs
{"run": I}    {"wall": seconds, "cpu": seconds of all threads}
{"close": I}  {}
What fails is answered by {"error": TEXT}. level is of ONNX Runtime's optimizations: all, extended, basic or disabled.
Operators of OpenVINO have their precision behind the name, as in Convolution:u8.
"""
import json
import os
import sys
import tempfile
import time

import numpy as np

os.environ["RUST_BACKTRACE"] = "0"  # of tract's errors


class ORT:
    def __init__(self):
        import onnx
        import onnxruntime

        self.onnx, self.ort, self.version = onnx, onnxruntime, onnxruntime.__version__

    def open(self, path, x, threads, level="all"):
        levels = self.ort.GraphOptimizationLevel
        options = self.ort.SessionOptions()
        options.graph_optimization_level = {"all": levels.ORT_ENABLE_ALL, "extended": levels.ORT_ENABLE_EXTENDED,
                                            "basic": levels.ORT_ENABLE_BASIC, "disabled": levels.ORT_DISABLE_ALL}[level]
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
            session = self.ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            graph = self.onnx.load(options.optimized_model_filepath, load_external_data=False).graph
        feed = {session.get_inputs()[0].name: x}
        return lambda: session.run(None, feed)[0], [
            {"op": n.op_type, "name": n.name, "inputs": list(n.input), "outputs": list(n.output)} for n in graph.node]


class OpenVINO:
    def __init__(self):
        import openvino

        self.version, self.core = openvino.__version__.split("-")[0], openvino.Core()

    def open(self, path, x, threads):
        # In float32, as the default is bfloat16 where the processor has it.
        options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        try:
            model = self.core.compile_model(self.core.read_model(path), "CPU", options)
        except RuntimeError as e:
            raise RuntimeError(str(e).split("Summary:")[-1]) from None  # what comes before is one line a node
        request = model.create_infer_request()
        nodes = []
        for n in model.get_runtime_model().get_ops():
            kind, precision = (n.get_rt_info()[k].astype(str) for k in ("layerType", "runtimePrecision"))
            nodes.append({"op": f"{kind}:{precision}", "name": n.get_friendly_name()})
        return lambda: request.infer([x])[0], nodes


class Tract:
    def __init__(self):
        import tract

        self.tract, self.version = tract, tract.version()

    def open(self, path, x, threads):  # it has one thread
        model = self.tract.onnx().load(path).into_model().into_runnable()
        return lambda: model.run([x])[0].to_numpy(), []


class Reference:
    def __init__(self):
        import onnx
        import onnx.reference
        import onnx.version_converter

        self.onnx, self.version = onnx, onnx.__version__

    def open(self, path, x, threads):
        model = self.onnx.load(path)
        opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        if opset < 19 and any(n.op_type == "DequantizeLinear" for n in model.graph.node):  # it knows it from 19 on
            model = self.onnx.version_converter.convert_version(model, 21)
        session = self.onnx.reference.ReferenceEvaluator(model)
        feed = {session.input_names[0]: x}
        return lambda: session.run(None, feed)[0], []


def timed(run):
    wall, cpu = time.perf_counter(), time.process_time()
    output = run()
    return output, {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def answer(runtime, sessions, command):
    if "run" in command:
        return timed(sessions[command["run"]])[1]
    if "close" in command:
        del sessions[command["close"]]
        return {}
    options = {k: command[k] for k in ("level",) if command.get(k)}
    run, nodes = runtime.open(command["open"], np.load(command["input"]), command["threads"], **options)
    np.save(command["output"], np.ascontiguousarray(run(), dtype=np.float32))
    index = max(sessions, default=-1) + 1
    sessions[index] = run
    return {"id": index, "nodes": nodes}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is none of the answers
    runtime = {"ort": ORT, "openvino": OpenVINO, "tract": Tract, "reference": Reference}[sys.argv[1]]()
    print(json.dumps({"version": runtime.version}), file=answers, flush=True)
    sessions = {}
    for line in sys.stdin:
        try:
            result = answer(runtime, sessions, json.loads(line))
        except Exception as e:
            result = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(result), file=answers, flush=True)


main()
