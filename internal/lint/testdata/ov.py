"""Says how OpenVINO's CPU plugin runs graphs: ov.py MODEL.onnx...

For each model, as one JSON list: the error when it cannot be read or compiled (null when it can), and the layers that
are executed with the precision that each computes in.
"""
import json
import sys

import openvino as ov

core = ov.Core()


def layers(path):
    try:
        compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    except Exception as e:  # of classes of its own
        return {"error": str(e).strip().splitlines()[-1], "layers": []}
    info = [o.rt_info for o in compiled.get_runtime_model().get_ordered_ops()]
    return {"error": None, "layers": [{"type": i["layerType"].astype(str), "precision": i["runtimePrecision"].astype(str)}
                                      for i in info if "layerType" in i]}


json.dump({"version": ov.__version__, "models": [layers(p) for p in sys.argv[1:]]}, sys.stdout)
