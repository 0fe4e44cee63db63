"""Generate images of one class with an exported generator: numpy, onnxruntime and pillow, no PyTorch.

attnorm export an-gan-digits -o digits.onnx
python onnx_generate.py digits.onnx 3 threes.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

model, name, out = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
about = session.get_modelmeta().custom_metadata_map
labels = np.full(8, json.loads(about["class_names"]).index(name), np.int64)
noise = np.random.default_rng(0).standard_normal((8, int(about["latent_dim"])), np.float32)
[images] = session.run(None, {"noise": noise, "labels": labels})
pixels = np.rint((images + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
Image.fromarray(np.concatenate(pixels, axis=1)).save(out)
