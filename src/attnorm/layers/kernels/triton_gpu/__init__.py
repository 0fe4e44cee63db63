"""The operator in Triton, on NVIDIA's GPUs: two passes over the maps forward, two backward, and nothing large saved.

The softmax of the logits and the sum with a residual are part of the same passes. The statistics are float32 for every
half-precision map, and nothing depends on the order in which programs run: the same input gives the same bits.

Tested against float64 in Triton's interpreter, and compiled for compute capabilities 8.0 and 9.0 (`resources` reports
registers and spills); it has not run on a GPU yet, and its speed there is unmeasured. `import attnorm` does not import
triton: the first call does.
"""

from attnorm.layers.kernels.triton_gpu.operators import refusal, regional_norm

__all__ = ["refusal", "regional_norm"]
