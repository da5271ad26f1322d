"""Makes reference.json: PSNR and SSIM on Y of small picture pairs.

Independent of the Go code: a direct 2-D window in numpy and, where installed,
scikit-image. Run: python make.py (needs numpy, pillow; scikit-image optional).
"""
import json
import os

import numpy as np
from PIL import Image

here = os.path.dirname(os.path.abspath(__file__))


def luma(rgb):
    return 16 + (rgb.astype(np.float64) / 255) @ np.array([65.481, 128.553, 24.966])


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a - b) ** 2))


def ssim(a, b):
    d = np.arange(11) - 5
    w = np.exp(-(d[:, None] ** 2 + d[None, :] ** 2) / (2 * 1.5**2))
    w /= w.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    win = np.lib.stride_tricks.sliding_window_view
    mean = lambda v: np.einsum("ijkl,kl->ij", win(v, (11, 11)), w)
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    return float(np.mean((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))))


def skimage(a, b):
    try:
        from skimage.metrics import structural_similarity
    except ImportError:
        return None
    _, full = structural_similarity(a, b, data_range=255, gaussian_weights=True, sigma=1.5,
                                    use_sample_covariance=False, full=True)
    return float(np.mean(full[5:-5, 5:-5]))


rng = np.random.default_rng(7)
cases = []
for name, (h, w), gray, noise, border in [
    ("color", (37, 52), False, 9, 2), ("gray", (31, 29), True, 20, 3),
    ("strong", (24, 64), False, 80, 0), ("smallest", (19, 19), False, 5, 4),
]:
    yy, xx = np.mgrid[0:h, 0:w]
    base = np.stack([127 + 110 * np.sin(xx / (3 + c) + yy / (5 - c)) for c in range(3)], -1)
    if gray:
        base[...] = base[..., :1]
    n = rng.normal(0, noise, base.shape[:2] + ((1,) if gray else (3,)))
    a = np.clip(np.round(base), 0, 255).astype(np.uint8)
    b = np.clip(np.round(base + n), 0, 255).astype(np.uint8)
    for suffix, m in (("a", a), ("b", b)):
        Image.fromarray(m[..., 0] if gray else m).save(os.path.join(here, f"{name}_{suffix}.png"))
    cut = slice(border, -border or None)
    ya, yb = luma(a)[cut, cut], luma(b)[cut, cut]
    s, k = ssim(ya, yb), skimage(ya, yb)
    assert k is None or abs(s - k) < 1e-9, (name, s, k)
    cases.append(dict(name=name, border=border, psnr=psnr(ya, yb), ssim=s, skimage=k))
with open(os.path.join(here, "reference.json"), "w") as f:
    json.dump(cases, f, indent=1)
    f.write("\n")
