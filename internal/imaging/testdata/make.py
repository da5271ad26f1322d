"""Makes small pictures in many formats with pillow, and their pixels in pixels.json.

Run: python make.py (needs numpy, pillow).
"""
import json
import os

import numpy as np
from PIL import Image

os.chdir(os.path.dirname(os.path.abspath(__file__)))
h, w = 5, 7
yy, xx = np.mgrid[0:h, 0:w]
rgb = np.stack([xx * 36, yy * 60, (xx * yy * 9) % 256], -1).astype(np.uint8)
alpha = ((xx + yy) * 23 % 256).astype(np.uint8)
gray = rgb[..., 0]
out = {}


def save(name, im, planes, alpha=None, levels=255, **kw):
    im.save(name, **kw)
    planes = planes[..., None] if planes.ndim == 2 else planes
    out[name] = dict(width=w, height=h, depth=8 if levels == 255 else 16,
                     pix=planes.transpose(2, 0, 1).ravel().tolist(),
                     alpha=None if alpha is None else alpha.ravel().tolist())


save("rgb.png", Image.fromarray(rgb), rgb)
save("gray.png", Image.fromarray(gray), gray)
save("gray_alpha.png", Image.fromarray(np.dstack([gray, alpha])), gray, alpha)
save("rgba.png", Image.fromarray(np.dstack([rgb, alpha])), rgb, alpha)
save("rgba_opaque.png", Image.fromarray(np.dstack([rgb, alpha * 0 + 255])), rgb)
gray16 = (gray.astype(np.uint16) * 251 + 7).astype(np.uint16)
save("gray16.png", Image.fromarray(gray16), gray16, levels=65535)
pal = Image.fromarray(rgb).quantize(256)
save("palette.png", pal, np.asarray(pal.convert("RGB")))
pal.info["transparency"] = bytes([0, 128, 255] * 10)
n = len(np.unique(np.asarray(pal)))
pal.save("palette_alpha.png", transparency=bytes([(40 * i) % 256 for i in range(n)]))
p = np.asarray(Image.open("palette_alpha.png").convert("RGBA"))
out["palette_alpha.png"] = dict(width=w, height=h, depth=8, pix=p[..., :3].transpose(2, 0, 1).ravel().tolist(),
                                alpha=p[..., 3].ravel().tolist())
save("rgb.bmp", Image.fromarray(rgb), rgb)
save("rgb.tiff", Image.fromarray(rgb), rgb, compression="tiff_lzw")
save("rgba.webp", Image.fromarray(np.dstack([rgb, alpha])), rgb, alpha, lossless=True, exact=True)
with open("pixels.json", "w") as f:
    json.dump(out, f)
    f.write("\n")

# JPEG decoders differ by a code or so: flat quarters, big enough to be exact but there.
q = np.zeros((16, 32, 3), np.uint8)
q[:8, :16], q[:8, 16:], q[8:, :16], q[8:, 16:] = (250, 20, 20), (20, 250, 20), (20, 20, 250), (240, 240, 240)
im = Image.fromarray(q)
for o in range(1, 9):
    e = Image.Exif()
    e[0x0112] = o
    im.save(f"exif{o}.jpg", quality=100, subsampling=0, exif=e)
im.convert("CMYK").save("cmyk.jpg", quality=100, subsampling=0)
