"""Quantizes a model with ONNX Runtime's own quantizer: quantize.py MODEL OUT

All operators, Q/DQ form, uint8 activations, int8 weights for each channel. Ranges come from one random input: it is the
form of the graph that counts.
"""
import logging
import sys
import tempfile

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

logging.disable(logging.WARNING)
source, target = sys.argv[1:]
x = onnx.load(source).graph.input[0]
channels = x.type.tensor_type.shape.dim[1].dim_value


class Reader(CalibrationDataReader):
    def __init__(self):
        self.feeds = iter([{x.name: np.random.default_rng(0).uniform(0, 1, [1, channels, 24, 24]).astype(np.float32)}])

    def get_next(self):
        return next(self.feeds, None)


with tempfile.TemporaryDirectory() as folder:
    prepared = folder + "/prepared.onnx"
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, target, Reader(), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8, per_channel=True)
