"""Runs models in ONNX Runtime on command, so that another program can take turns with it.

Reads one JSON object a line from stdin and answers each with one on stdout:
{"open": MODEL, "input": FILE.npy, "output": FILE.npy, "threads": N}  loads a model, runs it once and keeps its output: {"id": I}
{"run": I}    {"wall": seconds, "cpu": seconds of all threads}
{"close": I}  {}
What fails is answered by {"error": TEXT}. Sessions have the default options but for the number of threads.
"""
import json
import sys
import time

import numpy as np
import onnxruntime as ort

sessions = {}


def run(session, feed):
    wall, cpu = time.perf_counter(), time.process_time()
    outputs = session.run(None, feed)
    return outputs[0], {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def answer(command):
    if "run" in command:
        return run(*sessions[command["run"]])[1]
    if "close" in command:
        del sessions[command["close"]]
        return {}
    options = ort.SessionOptions()
    options.intra_op_num_threads = command["threads"]
    options.log_severity_level = 3
    session = ort.InferenceSession(command["open"], options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.load(command["input"])}
    output, _ = run(session, feed)
    np.save(command["output"], np.ascontiguousarray(output, dtype=np.float32))
    index = max(sessions, default=-1) + 1
    sessions[index] = (session, feed)
    return {"id": index}


for line in sys.stdin:
    try:
        result = answer(json.loads(line))
    except Exception as e:
        result = {"error": f"{type(e).__name__}: {e}"}
    print(json.dumps(result), flush=True)
