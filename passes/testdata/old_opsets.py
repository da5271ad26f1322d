"""Writes small graphs of old opset versions, one file for each operator that changed, into a folder.

usage: old_opsets.py FOLDER
"""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

folder = sys.argv[1]


def write(name, opset, nodes, constants=None, rank=4, outputs=("y",), elem=T.FLOAT):
    shape = ["n", 4, "h", "w"][:rank] if rank <= 4 else ["n", 4, "h", "w", 2]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", elem, shape)],
        [helper.make_empty_tensor_value_info(o) for o in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 4 if opset < 11 else 7 if opset < 15 else 8 if opset < 19 else 9
    inferred = onnx.shape_inference.infer_shapes(model)
    for have, want in zip(model.graph.output, inferred.graph.output):
        have.type.CopyFrom(want.type)
        if not have.type.tensor_type.elem_type:
            have.type.CopyFrom(helper.make_tensor_type_proto(elem, None))
    onnx.save(model, os.path.join(folder, f"{name}_{opset}.onnx"))


def op(kind, inputs=("x",), outputs=("y",), **attrs):
    return helper.make_node(kind, list(inputs), list(outputs), **attrs)


f32 = np.float32
four = np.linspace(0.5, 2, 4).astype(f32)

for v in (7, 9, 10):
    write("clip", v, [op("Clip", min=-0.1, max=0.3)])
    write("clip_min", v, [op("Clip", min=0.0)])
    write("pad", v, [op("Pad", pads=[0, 0, 1, 2, 0, 0, 3, 0], value=0.5)])
    write("pad_reflect", v, [op("Pad", mode="reflect", pads=[0, 0, 1, 2, 0, 0, 3, 0])])
    write("batchnorm", v, [op("BatchNormalization", ["x", "s", "b", "m", "v"])],
          {"s": four, "b": four, "m": four, "v": four})
    write("dropout", v, [op("Dropout", ratio=0.3)])
write("batchnorm_spatial", 7, [op("BatchNormalization", ["x", "s", "b", "m", "v"], spatial=1)],
      {"s": four, "b": four, "m": four, "v": four})
for v in (7, 9):
    write("slice", v, [op("Slice", starts=[1, 0], ends=[-1, 100], axes=[2, 3])])
    write("slice_no_axes", v, [op("Slice", starts=[0, 1], ends=[1, 3])])
    write("topk", v, [op("TopK", ["x"], ["y", "i"], k=2, axis=1)], outputs=("y", "i"))
for mode in ("nearest", "linear"):
    write(f"upsample_{mode}", 7, [op("Upsample", scales=[1.0, 1.0, 2.0, 3.0], mode=mode)])
    write(f"upsample_{mode}", 9, [op("Upsample", ["x", "s"], mode=mode)], {"s": np.array([1, 1, 2, 3], f32)})
    write(f"resize_{mode}", 10, [op("Resize", ["x", "s"], mode=mode)], {"s": np.array([1, 1, 2, 3], f32)})
    write(f"resize_down_{mode}", 10, [op("Resize", ["x", "s"], mode=mode)], {"s": np.array([1, 1, 0.5, 0.7], f32)})
    write(f"resize_{mode}", 11, [op("Resize", ["x", "r", "s"], mode=mode)],
          {"s": np.array([1, 1, 2, 1.5], f32), "r": np.zeros(0, f32)})
write("resize_cubic", 11, [op("Resize", ["x", "r", "s"], mode="cubic", coordinate_transformation_mode="align_corners")],
      {"s": np.array([1, 1, 2, 1.5], f32), "r": np.zeros(0, f32)})
for v in (7, 11):
    write("squeeze", v, [op("GlobalAveragePool", outputs=["p"]), op("Squeeze", ["p"], axes=[2, 3])])
    write("unsqueeze", v, [op("Unsqueeze", axes=[0, 3])])
    write("split", v, [op("Split", ["x"], ["a", "b"], axis=1, split=[1, 3]), op("Concat", ["b", "a"], axis=1)])
    write("split_even", v, [op("Split", ["x"], ["a", "b"], axis=1), op("Concat", ["b", "a"], axis=1)])
    write("softmax", v, [op("Softmax")])
    write("softmax_2", v, [op("Softmax", axis=2)])
    write("softmax_last", v, [op("Softmax", axis=3)])
    write("logsoftmax", v, [op("LogSoftmax", axis=1)])
    write("hardmax", v, [op("Hardmax", axis=1)])
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"):
        pre = [op("Abs", ["x"], ["a"]), op(f"Reduce{kind}", ["a"], axes=[2, 3], keepdims=1)]
        write(f"reduce_{kind.lower()}", v, pre)
    write("reduce_all", v, [op("ReduceMean", keepdims=0)])
    write("depth_to_space", v, [op("DepthToSpace", blocksize=2)])
    write("max_pool", v, [op("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])])
    write("average_pool", v, [op("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])])
    write("prelu", v, [op("PRelu", ["x", "s"])], {"s": four.reshape(4, 1, 1)})
    write("cast", v, [op("Cast", outputs=["c"], to=T.INT32), op("Cast", ["c"], to=T.FLOAT)])
    write("reshape", v, [op("Reshape", ["x", "s"])], {"s": np.array([0, 2, -1], np.int64)})
    write("flatten", v, [op("Flatten", axis=2)])
    write("gemm", v, [op("GlobalAveragePool", outputs=["p"]), op("Flatten", ["p"], ["q"]), op("Gemm", ["q", "s", "b"])],
          {"s": np.outer(four, four).astype(f32), "b": four})
write("softmax_negative", 11, [op("Softmax", axis=-2)])
write("scatter", 9, [op("Scatter", ["x", "i", "u"], axis=1)],
      {"i": np.array([[[[1]]]], np.int64), "u": np.array([[[[5]]]], f32)})
write("clip_half", 7, [op("Cast", outputs=["c"], to=T.FLOAT16), op("Clip", ["c"], ["d"], min=-0.1, max=0.3), op("Cast", ["d"], to=T.FLOAT)])
write("reduce", 13, [op("ReduceMax", axes=[1], keepdims=0)])
write("split_even", 13, [op("Split", ["x"], ["a", "b"], axis=1), op("Concat", ["b", "a"], axis=1)])
write("split", 13, [op("Split", ["x", "s"], ["a", "b"], axis=1), op("Concat", ["b", "a"], axis=1)], {"s": np.array([1, 3], np.int64)})
for mode in ("bilinear", "nearest", "bicubic"):
    write(f"grid_sample_{mode}", 16, [op("GridSample", ["x", "g"], mode=mode)],
          {"g": np.linspace(-1, 1, 24).reshape(1, 3, 4, 2).astype(f32)})
write("group_norm", 18, [op("GroupNormalization", ["x", "s", "b"], num_groups=2)],
      {"s": np.array([1, 2], f32), "b": np.array([0.5, 3], f32)})
then = helper.make_graph([op("ReduceMean", ["x"], ["p"], axes=[1])], "then", [], [helper.make_tensor_value_info("p", T.FLOAT, None)])
other = helper.make_graph([op("ReduceMax", ["x"], ["q"], axes=[1])], "other", [], [helper.make_tensor_value_info("q", T.FLOAT, None)])
write("if", 11, [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)], {"c": np.array(False)})
