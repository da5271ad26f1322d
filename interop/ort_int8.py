"""Quantizes a float model to int8 with ONNX Runtime's own static quantizer: ort_int8.py MODEL OUT INPUT.npy...

All operators are quantized, on both sides (Q/DQ form, uint8 activations, int8 weights for each channel, ranges of the
given inputs), which is the form ONNX Runtime executes fastest; weights use 7 of the 8 bits, without which its kernels
saturate on processors without VNNI. Prints as JSON how many convolutions of the optimized
graph are integer and how many have stayed float.
"""
import json
import logging
import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

logging.disable(logging.WARNING)
source, target, *inputs = sys.argv[1:]


class Reader(CalibrationDataReader):
    def __init__(self, name):
        self.feeds = iter([{name: np.load(path)} for path in inputs])

    def get_next(self):
        return next(self.feeds, None)


with tempfile.TemporaryDirectory() as folder:
    prepared = os.path.join(folder, "prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, target, Reader(onnx.load(source).graph.input[0].name), quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
    ort.InferenceSession(target, options, providers=["CPUExecutionProvider"])
    operators = [n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node]
print(json.dumps({"integer": operators.count("QLinearConv"),
                  "float": sum(o in ("Conv", "FusedConv", "ConvTranspose") for o in operators)}))
