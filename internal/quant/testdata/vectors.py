"""Test vectors for internal/quant, in float64 from the formulas of arXiv 2012.11230 and DESIGN.md, not from the Go code.

Writes vectors.json beside itself. Needs numpy; onnx packs the codes; onnxruntime then runs every activation case as standard
operators in float32, in the order the Go documentation states, and must give the same codes.

    python vectors.py
"""
import json, os
import numpy as np
import onnx, onnxruntime
from onnx import TensorProto as T, helper as oh

S = {1: 1.596, 2: 0.996, 3: 0.586, 4: 0.335, 5: 0.188, 6: 0.104, 7: 0.057, 8: 0.031}
EPS = 1e-8
onnxruntime.set_default_logger_severity(3)
C, N = 4, 6 * 8  # channels, values of a channel
TIE = 3e-5       # no value may be closer than this (in steps) to where its code changes: float32 could not tell

class Tie(Exception): pass

def floor(q):
    if np.any(np.abs(q - np.round(q)) < TIE): raise Tie
    return np.floor(q)

def codes_of(x, centre, scale, L):
    """The paper's form for even L; for odd L rounding to the nearest of L levels around the centre."""
    z = (x - centre) / scale
    q = floor(z) + L // 2 if L % 2 == 0 else floor(z + 0.5) + (L - 1) // 2
    return np.clip(q, 0, L - 1).astype(int)

def qq(sigma, step, L):
    mu, sg = sigma.mean(), max(sigma.std(), EPS)
    c = codes_of(sigma, mu, step * sg, L)
    return np.maximum((c - (L - 1) / 2) * step * sg + mu, EPS)

def activation(x, dist, step, L, qstep, qL):
    x = x.astype(np.float64)
    if dist == "signed":
        mu, sg = x.mean(1), x.std(1)
    else:
        mu = np.array([r[r > 0].mean() if (r > 0).any() else 0 for r in x])
        sg = np.array([r[r > 0].std() if (r > 0).any() else 0 for r in x])
    sg = np.maximum(sg, EPS)
    if qL: sg = qq(sg, qstep, qL)
    alpha = (L - 1) / 2 * step
    shift = np.maximum(alpha - mu / sg, 0) if dist == "post-relu" else 0
    centre = mu + shift * sg
    codes = np.stack([codes_of(r, c, step * s, L) for r, c, s in zip(x, centre, sg)])
    hat = (codes - (L - 1) / 2) * (step * sg)[:, None] + centre[:, None]
    return codes, hat, step * sg, centre - (L - 1) / 2 * step * sg

def ort(x, dist, step, L, qstep, qL):
    """The same by standard operators in ONNX Runtime."""
    nodes, init = [], []
    def const(name, v, t=np.float32):
        init.append(onnx.numpy_helper.from_array(np.asarray(v, t), name)); return name
    def op(kind, *i, **a):
        o = "t%d" % len(nodes); nodes.append(oh.make_node(kind, list(i), [o], **a)); return o
    hw, ch, eps, one, zero = const("hw", [2, 3], np.int64), const("ch", [1], np.int64), const("eps", EPS), const("one", 1), const("zero", 0)
    half_const = const("half", .5)
    if dist == "signed":
        mean = op("ReduceMean", "x", hw); d = op("Sub", "x", mean); var = op("ReduceMean", op("Mul", d, d), hw)
    else:
        mask = op("Cast", op("Greater", "x", zero), to=T.FLOAT); n = op("Max", op("ReduceSum", mask, hw), one)
        mean = op("Div", op("ReduceSum", op("Mul", "x", mask), hw), n); d = op("Mul", op("Sub", "x", mean), mask)
        var = op("Div", op("ReduceSum", op("Mul", d, d), hw), n)
    std = op("Max", op("Sqrt", var), eps)
    def quantize(x, mean, std, step, L, tag, relu):
        scale = op("Mul", std, const("step" + tag, step))
        offset = op("Sub", mean, op("Mul", scale, const("mid" + tag, (L - 1) / 2)))
        if relu: offset = op("Relu", offset)
        q = op("Add", op("Div", op("Sub", x, offset), scale), half_const)
        return op("Clip", op("Floor", q), zero, const("top" + tag, L - 1)), scale, offset
    if qL:
        m = op("ReduceMean", std, ch); d = op("Sub", std, m)
        sd = op("Max", op("Sqrt", op("ReduceMean", op("Mul", d, d), ch)), eps)
        c, sc, of = quantize(std, m, sd, qstep, qL, "q", False)
        std = op("Max", op("Add", op("Mul", c, sc), of), eps)
    c, _, _ = quantize("x", mean, std, step, L, "", dist != "signed")
    g = oh.make_graph(nodes, "g", [oh.make_tensor_value_info("x", T.FLOAT, [1, C, 6, 8])], [oh.make_tensor_value_info(c, T.FLOAT, None)], init)
    m = oh.make_model(g, opset_imports=[oh.make_opsetid("", 18)], ir_version=10)
    s = onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
    return s.run(None, {"x": x.reshape(1, C, 6, 8)})[0].reshape(C, N).astype(int)

def hexed(codes): return bytes(np.asarray(codes, np.uint8).ravel().tolist()).hex()
def num(a): return [float("%.9g" % v) for v in np.ravel(a)]

def activation_cases(seed):
    rng = np.random.default_rng(seed)
    gain, mean = np.array([.3, 1, 1.7, 4])[:, None], np.array([.1, -.4, 2, 0])[:, None]
    x = (rng.laplace(size=(C, N)) * gain + mean).astype(np.float32)
    inputs = {"signed": x.round(3), "post-relu": np.maximum(x, 0).round(3)}
    inputs["post-relu"][3] = 0                                    # a dead channel
    inputs["post-relu"][2] += np.float32(6)                        # one whose window does not start at zero at high bits
    cases = []
    plans = [(S[n], 2 ** n) for n in S] + [(S[max(n - 1, 1)], 2 ** n) for n in S] + [(.8 / n, 2 ** n) for n in S]
    plans += [(.9, 3), (.5, 5), (.4, 7), (.05, 100), (.03, 255)]   # any number of levels
    for dist in inputs:
        for step, L in plans:
            for qstep, qL in [(0, 0), (S[8], 256), (S[3], 16)]:
                codes, hat, scale, offset = activation(inputs[dist], dist, step, L, qstep, qL)
                assert codes.min() >= 0 and codes.max() < L and len(np.unique(codes)) <= L
                got = ort(inputs[dist], dist, step, L, qstep, qL)
                assert (got == codes).all(), (dist, step, L, qL, int((got != codes).sum()))
                cases.append(dict(dist=dist, step=step, levels=L, qq_step=qstep, qq_levels=qL, scale=num(scale), offset=num(offset),
                                  codes=hexed(codes), mse=float("%.9g" % ((hat - inputs[dist]) ** 2).mean())))
    return {k: num(v) for k, v in inputs.items()}, cases

def weight_cases(seed):
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((3, N)) * np.array([.02, .05, .4])[:, None]).astype(np.float32).round(4)
    w[1, 7] = .4  # an outlier
    cases = []
    for n in S:
        L = 2 ** n
        for step in (S[n], S[max(n - 1, 1)], .8 / n):
            for per in ("tensor", "channel"):
                sg = np.full(3, w.astype(np.float64).std()) if per == "tensor" else w.astype(np.float64).std(1)
                codes = np.stack([codes_of(r.astype(np.float64), 0, step * s, L) for r, s in zip(w, sg)])
                hat = (codes - (L - 1) / 2) * (step * sg)[:, None]
                cases.append(dict(per=per, step=step, levels=L, scale=num(step * sg), codes=hexed(codes), mse=num(((hat - w) ** 2).mean(1))))
    best = []
    big = rng.laplace(size=(3, 576)) * np.array([.02, .05, .4])[:, None]
    big = big.astype(np.float32).round(4)
    for rows, name in ((w, "small"), (big, "big")):
        for L in [2 ** n for n in S] + [3, 15, 100]:
            mse = []
            for r in rows.astype(np.float64):
                r = r[:, None]
                scale = np.abs(r).max() * np.linspace(.002, 1.6, 4001)[None] / ((L - 1) / 2)
                z = r / scale
                c = np.clip(np.floor(z + L / 2), 0, L - 1)
                mse.append(((((c - (L - 1) / 2) * scale) - r) ** 2).mean(0).min())
            best.append(dict(weights=name, levels=L, mse=num(mse)))
    return num(w), num(big), cases, best

def pack_cases(rng):
    out = []
    for bits, t in ((2, T.UINT2), (4, T.UINT4), (8, T.UINT8)):
        for n in (0, 1, 2, 3, 4, 5, 7, 8, 33):
            c = rng.integers(0, 2 ** bits, n)
            raw = oh.make_tensor("t", t, [n], bytes(onnx.numpy_helper.from_array(c.astype(oh.tensor_dtype_to_np_dtype(t))).raw_data), raw=True)
            assert (onnx.numpy_helper.to_array(raw).astype(int) == c).all()
            out.append(dict(bits=bits, codes=hexed(c), packed=raw.raw_data.hex()))
    for n in (1, 7, 8, 9, 20):  # one bit is no ONNX type
        c = rng.integers(0, 2, n)
        out.append(dict(bits=1, codes=hexed(c), packed=np.packbits(c.astype(np.uint8), bitorder="little").tobytes().hex()))
    return out

def without_ties(make):
    for seed in range(10000):
        try: return make(seed)
        except Tie: pass

inputs, acts = without_ties(activation_cases)
w, big, weights, best = without_ties(weight_cases)
doc = dict(channels=C, inputs=inputs, activations=acts, weights=dict(small=w, big=big), daq_weights=weights, best_weights=best, packing=pack_cases(np.random.default_rng(1)))
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors.json")
with open(path, "w") as f: json.dump(doc, f, separators=(",", ":"))
print(len(acts), "activation,", len(weights), "weight,", len(best), "best-weight cases;", os.path.getsize(path), "bytes; ONNX Runtime", onnxruntime.__version__, "agrees")
