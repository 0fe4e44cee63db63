"""Inpaint an image with an exported model: numpy, onnxruntime and pillow, no PyTorch.

attnorm export runs/inpaint -o inpaint.onnx
python onnx_inpaint.py inpaint.onnx photo.png mask.png completed.png   # white in the mask is missing
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
padding = ((0, -height % stride), (0, -width % stride))
image = np.pad(pixels / np.float32(127.5) - 1, (*padding, (0, 0)), mode="reflect").transpose(2, 0, 1)[None]
padded_mask = np.pad(missing, padding, mode="reflect").astype(np.float32)[None, None]
[completed] = session.run(None, {"image": image, "mask": padded_mask})
result = np.rint((completed[0].transpose(1, 2, 0)[:height, :width] + 1) * 127.5).astype(np.uint8)
Image.fromarray(np.where(missing[..., None], result, pixels)).save(out)
