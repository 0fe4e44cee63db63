"""Complete a picture with an exported inpainting model: numpy, onnxruntime and pillow, no PyTorch.

attnorm export runs/holes -o holes.onnx
python onnx_inpaint.py holes.onnx photo.png mask.png completed.png   # light in the mask is missing
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image

model, photo, mask, out = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
stride = int(session.get_modelmeta().custom_metadata_map["stride"])
pixels, missing = np.asarray(Image.open(photo).convert("RGB")), np.asarray(Image.open(mask).convert("L")) >= 128
height, width = missing.shape
margin = ((0, -height % stride), (0, -width % stride))
picture = np.pad(pixels / np.float32(127.5) - 1, (*margin, (0, 0)), mode="reflect").transpose(2, 0, 1)[None]
hole = np.pad(missing, margin, mode="reflect").astype(np.float32)[None, None]
[completed] = session.run(None, {"picture": picture, "mask": hole})
found = np.rint((completed[0].transpose(1, 2, 0)[:height, :width] + 1) * 127.5).astype(np.uint8)
Image.fromarray(np.where(missing[..., None], found, pixels)).save(out)
