"""What is measured: generated images in fid.py (FID, intra-FID, KID, inception score, precision and recall), by the
`Evaluator` of evaluation.py; completed images in inpainting.py (PSNR, SSIM, MAE); layouts in layout.py. The one
format of records is in records.py."""
