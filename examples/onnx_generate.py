"""Generate images of one class with an exported generator. Needs NumPy, onnxruntime and Pillow, not PyTorch.

attnorm export an-gan-digits -o digits.onnx
python onnx_generate.py digits.onnx 3 threes.png
"""

import argparse
import json

import numpy as np
import onnxruntime
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", help="a file from `attnorm export`")
parser.add_argument("class_name", help="one of the model's classes")
parser.add_argument("out", help="the image file to write, such as images.png")
parser.add_argument("--count", type=int, default=8, help="number of images (default 8)")
parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default 0)")
args = parser.parse_args()

try:
    session = onnxruntime.InferenceSession(args.model)
except Exception as error:
    parser.error(f"cannot load {args.model}: {error}")
about = session.get_modelmeta().custom_metadata_map
if about.get("task") != "class-conditional":
    parser.error(f"{args.model} is not an exported generator")
names = json.loads(about["class_names"])
if args.class_name not in names:
    parser.error(f"there is no class {args.class_name!r}: choose from {', '.join(names)}")
if args.count < 1:
    parser.error("--count must be at least 1")

labels = np.full(args.count, names.index(args.class_name), np.int64)
noise = np.random.default_rng(args.seed).standard_normal((args.count, int(about["latent_dim"])), np.float32)
[images] = session.run(None, {"noise": noise, "labels": labels})
pixels = np.rint((images + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
try:
    Image.fromarray(np.concatenate(pixels, axis=1)).save(args.out)
except (OSError, ValueError) as error:
    parser.error(f"cannot write {args.out}: {error}")
