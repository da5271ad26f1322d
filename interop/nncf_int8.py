"""Quantizes a float model to int8 with NNCF (ONNX backend, default settings): nncf_int8.py MODEL OUT INPUT.npy..."""
import logging
import sys

import nncf
import numpy as np
import onnx

nncf.set_log_level(logging.ERROR)
source, target, *inputs = sys.argv[1:]
model = onnx.load(source)
name = model.graph.input[0].name
dataset = nncf.Dataset(inputs, lambda path: {name: np.load(path)})
onnx.save(nncf.quantize(model, dataset, subset_size=len(inputs)), target)
