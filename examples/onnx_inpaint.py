"""Inpaint an image of any size with an exported model. Needs NumPy, onnxruntime and Pillow, not PyTorch.

attnorm export runs/inpaint -o inpaint.onnx
python onnx_inpaint.py inpaint.onnx photo.png mask.png completed.png   # white in the mask is missing
"""

import argparse

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", help="a file from `attnorm export`")
parser.add_argument("image", help="the image to complete")
parser.add_argument("mask", help="the mask, white where pixels are missing")
parser.add_argument("out", help="the image file to write, such as completed.png")
args = parser.parse_args()

try:
    session = onnxruntime.InferenceSession(args.model)
except Exception as error:
    parser.error(f"cannot load {args.model}: {error}")
about = session.get_modelmeta().custom_metadata_map
if about.get("task") != "inpainting":
    parser.error(f"{args.model} is not an exported inpainting model")
try:
    image, mask = (ImageOps.exif_transpose(Image.open(path)) for path in (args.image, args.mask))
    pixels, missing = np.asarray(image.convert("RGB")), np.asarray(mask.convert("L")) >= 128
except OSError as error:
    parser.error(str(error))
if missing.shape != pixels.shape[:2]:
    parser.error(f"the mask has {mask.width}×{mask.height} pixels and the image {image.width}×{image.height}")
if min(missing.shape) < int(about["smallest_side"]):
    parser.error(f"the image must have at least {about['smallest_side']} pixels a side")

inputs = {
    "image": (pixels / np.float32(127.5) - 1).transpose(2, 0, 1)[None],
    "mask": missing.astype(np.float32)[None, None],
}
[completed] = session.run(None, inputs)
result = np.rint((completed[0].transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)
try:
    Image.fromarray(np.where(missing[..., None], result, pixels)).save(args.out)
except (OSError, ValueError) as error:
    parser.error(f"cannot write {args.out}: {error}")
