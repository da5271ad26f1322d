"""Writes tests of operators in the forms of old opsets, in the layout of backend_cases.py.

The backend tests of ONNX are of the newest form of each operator. Expected outputs are
those of ONNX Runtime, which runs opsets from 7 on.
"""
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(1)


def f(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def i64(*values):
    return np.array(values, np.int64)


x = f(1, 4, 6, 5)
one = np.array([1.5], np.float32)
# name: (operator, opsets, inputs, attributes, number of outputs); an input given as a
# tuple (array,) is an initializer.
CASES = {
    "add_broadcast": ("Add", (7, 12), [x, f(4, 1, 1)], {}, 1),
    "averagepool": ("AveragePool", (7, 10), [x], dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), 1),
    "averagepool_ceil": ("AveragePool", (10, 11), [x], dict(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), 1),
    "argmax": ("ArgMax", (7, 11, 12), [x], dict(axis=1, keepdims=0), 1),
    "batchnorm": ("BatchNormalization", (7, 9, 14), [x, (f(4),), (f(4),), (f(4),), (np.abs(f(4)),)], dict(epsilon=1e-3), 1),
    "cast": ("Cast", (7, 9), [x * 3], dict(to=TensorProto.INT32), 1),
    "clip_attributes": ("Clip", (7, 10), [x], dict(min=-0.5, max=0.7), 1),
    "clip_inputs": ("Clip", (11, 12), [x, (np.float32(-0.5),), (np.float32(0.7),)], {}, 1),
    "concat": ("Concat", (7, 11), [x, f(1, 2, 6, 5)], dict(axis=1), 1),
    "conv": ("Conv", (7, 11), [x, (f(3, 4, 3, 3),), (f(3),)], dict(pads=[1, 1, 1, 1]), 1),
    "conv_transpose": ("ConvTranspose", (7, 11), [x, (f(4, 2, 4, 4),)], dict(strides=[2, 2], pads=[1, 1, 1, 1]), 1),
    "depth_to_space": ("DepthToSpace", (7, 10), [x], dict(blocksize=2), 1),
    "depth_to_space_crd": ("DepthToSpace", (11, 12), [x], dict(blocksize=2, mode="CRD"), 1),
    "dropout": ("Dropout", (7, 10), [x], dict(ratio=0.3), 1),
    "dropout_input": ("Dropout", (12,), [x, (np.float32(0.3),)], {}, 1),
    "flatten": ("Flatten", (7, 9), [x], dict(axis=2), 1),
    "gemm": ("Gemm", (7, 9, 11), [f(3, 4), f(5, 4), f(5)], dict(transB=1, alpha=0.5, beta=2.0), 1),
    "gather": ("Gather", (7, 11), [x, i64(2, 0)], dict(axis=1), 1),
    "global_pool": ("GlobalAveragePool", (7,), [x], {}, 1),
    "hardmax": ("Hardmax", (7, 12), [x], dict(axis=2), 1),
    "instance_norm": ("InstanceNormalization", (7,), [x, (f(4),), (f(4),)], {}, 1),
    "log_softmax": ("LogSoftmax", (7, 11, 13), [x], dict(axis=1), 1),
    "lrn": ("LRN", (7,), [np.abs(x)], dict(size=3), 1),
    "leaky_relu": ("LeakyRelu", (7,), [x], dict(alpha=0.2), 1),
    "maxpool": ("MaxPool", (7, 8, 10), [x], dict(kernel_shape=[2, 3], strides=[2, 1]), 1),
    "maxpool_indices": ("MaxPool", (8, 11), [x], dict(kernel_shape=[2, 2], strides=[2, 2]), 2),
    "max": ("Max", (7, 8, 12), [x, f(1, 4, 6, 5)], {}, 1),
    "onehot": ("OneHot", (9, 11), [i64(1, 3, 0), (i64(4),), (f(2),)], dict(axis=-1), 1),
    "pad_attributes": ("Pad", (7, 10), [x], dict(pads=[0, 0, 1, 2, 0, 0, 2, 1], mode="reflect"), 1),
    "pad_value": ("Pad", (7, 10), [x], dict(pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5), 1),
    "pad_inputs": ("Pad", (11, 12), [x, (i64(0, 0, 1, 2, 0, 0, 2, 1),)], dict(mode="edge"), 1),
    "pow": ("Pow", (7, 12), [np.abs(x), one], {}, 1),
    "prelu": ("PRelu", (7, 9), [x, (f(4, 1, 1),)], {}, 1),
    "reduce_mean": ("ReduceMean", (7, 11, 13), [x], dict(axes=[2, 3], keepdims=1), 1),
    "reduce_sum": ("ReduceSum", (7, 11), [x], dict(axes=[-1], keepdims=0), 1),
    "reduce_l2": ("ReduceL2", (7, 11), [x], dict(axes=[1]), 1),
    "reshape": ("Reshape", (7, 13), [x, (i64(0, -1, 5),)], {}, 1),
    "resize_10": ("Resize", (10,), [x, (np.array([1, 1, 2, 2], np.float32),)], dict(mode="linear"), 1),
    "resize_11": ("Resize", (11, 12), [x, (np.zeros(0, np.float32),), (np.array([1, 1, 2, 3], np.float32),)], dict(mode="cubic"), 1),
    "slice_attributes": ("Slice", (7, 9), [x], dict(starts=[1, -4], ends=[3, 100], axes=[1, 2]), 1),
    "slice_inputs": ("Slice", (10, 11), [x, (i64(4, 0),), (i64(0, 3),), (i64(2, 3),), (i64(-2, 1),)], {}, 1),
    "softmax": ("Softmax", (7, 11, 13), [x], dict(axis=1), 1),
    "space_to_depth": ("SpaceToDepth", (7,), [f(1, 2, 4, 6)], dict(blocksize=2), 1),
    "split_attributes": ("Split", (7, 11), [x], dict(axis=1, split=[1, 3]), 2),
    "split_equal": ("Split", (7, 11), [x], dict(axis=1), 2),
    "squeeze": ("Squeeze", (7, 11), [f(1, 4, 1, 5)], dict(axes=[0, 2]), 1),
    "sum": ("Sum", (7, 8), [x, f(1, 4, 6, 5), f(1, 4, 6, 5)], {}, 1),
    "tile": ("Tile", (7,), [x, (i64(1, 2, 1, 3),)], {}, 1),
    "topk_attribute": ("TopK", (7, 9), [x], dict(k=3, axis=1), 2),
    "topk_input": ("TopK", (10, 11), [x, (i64(2),)], dict(axis=-1), 2),
    "transpose": ("Transpose", (7,), [x], dict(perm=[0, 2, 3, 1]), 1),
    "unsqueeze": ("Unsqueeze", (7, 11), [x], dict(axes=[0, 3]), 1),
    "upsample_attributes": ("Upsample", (7, 8), [x], dict(scales=[1.0, 1.0, 2.0, 3.0], mode="nearest"), 1),
    "upsample_input": ("Upsample", (9,), [x, (np.array([1, 1, 2, 2], np.float32),)], dict(mode="linear"), 1),
    "quantize": ("QuantizeLinear", (10,), [x, (np.float32(0.02),), (np.uint8(120),)], {}, 1),
    "dynamic_quantize": ("DynamicQuantizeLinear", (11,), [x], {}, 3),
    "conv_integer": ("ConvInteger", (10,), [rng.integers(0, 255, (1, 2, 5, 5)).astype(np.uint8), (rng.integers(0, 255, (3, 2, 3, 3)).astype(np.uint8),), (np.uint8(7),)], {}, 1),
    "einsum_windows": ("Einsum", (12,), [f(2, 3, 4, 5), f(2, 3, 6, 5)], dict(equation="bhid,bhjd->bhij"), 1),
    "scatter_nd": ("ScatterND", (11, 16), [f(4, 5), i64(1, 3).reshape(2, 1), f(2, 5)], {}, 1),
}

out = sys.argv[1]
for name, (op, opsets, inputs, attributes, count) in CASES.items():
    for opset in opsets:
        given, inits, names = [], [], []
        for k, value in enumerate(inputs):
            names.append(f"i{k}")
            if isinstance(value, tuple):
                inits.append(numpy_helper.from_array(np.asarray(value[0]), names[-1]))
            else:
                given.append((names[-1], np.asarray(value)))
        outputs = [f"o{k}" for k in range(count)]
        graph = helper.make_graph(
            [helper.make_node(op, names, outputs, **attributes)], name,
            [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in given]
            + ([helper.make_tensor_value_info(i.name, i.data_type, i.dims) for i in inits] if opset < 9 else []),
            [helper.make_empty_tensor_value_info(o) for o in outputs], inits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3 if opset < 9 else 7)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results = session.run(None, dict(given))
        folder = os.path.join(out, f"{name}_{opset}")
        os.makedirs(folder)
        onnx.save(model, os.path.join(folder, "model.onnx"))
        with open(os.path.join(folder, "tolerance.txt"), "w") as file:
            file.write("1e-4 1e-5\n")
        tensors = [numpy_helper.from_array(v, "in/" + n) for n, v in given]
        tensors += [numpy_helper.from_array(np.asarray(v), "out/" + n) for n, v in zip(outputs, results)]
        onnx.save(helper.make_model(helper.make_graph([], "data", [], [], tensors)), os.path.join(folder, "data_0.onnx"))
