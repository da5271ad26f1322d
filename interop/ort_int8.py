"""Quantizes a float model to int8 with ONNX Runtime's own static quantizer: ort_int8.py MODEL OUT INPUT.npy...

All operators are quantized, on both sides (Q/DQ form, uint8 activations, int8 weights for each channel), which is the
form ONNX Runtime executes fastest. Ranges are those of the given inputs by --method. --reduce-range makes weights use 7
of the 8 bits, without which ONNX Runtime's kernels saturate on processors without VNNI. Prints as JSON how many
convolutions of the optimized graph are integer and how many have stayed float.
"""
import argparse
import json
import logging
import os
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

parser = argparse.ArgumentParser()
parser.add_argument("source")
parser.add_argument("target")
parser.add_argument("inputs", nargs="+")
parser.add_argument("--method", default="MinMax", choices=[m.name for m in CalibrationMethod])
parser.add_argument("--reduce-range", action="store_true")
args = parser.parse_args()
logging.disable(logging.WARNING)


class Reader(CalibrationDataReader):
    def __init__(self, name):
        self.feeds = ({name: np.load(path)} for path in args.inputs)

    def get_next(self):
        return next(self.feeds, None)


with tempfile.TemporaryDirectory() as folder:
    prepared = os.path.join(folder, "prepared.onnx")
    quant_pre_process(args.source, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, args.target, Reader(onnx.load(args.source).graph.input[0].name), quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True,
                    reduce_range=args.reduce_range, calibrate_method=CalibrationMethod[args.method])
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
    ort.InferenceSession(args.target, options, providers=["CPUExecutionProvider"])
    operators = [n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node]
print(json.dumps({"integer": operators.count("QLinearConv"),
                  "float": sum(o in ("Conv", "FusedConv", "ConvTranspose") for o in operators)}))
