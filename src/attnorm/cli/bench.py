"""`attnorm bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def layer(
    *,
    sizes: tuple[int, ...] = (128, 256, 512, 1024),
    batch: int = 1,
    channels: int = 32,
    entities: int = 16,
    dtype: Literal["float32", "bfloat16"] = "float32",
    channels_last: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    rounds: int = 15,
    limit: float = 2.0,
    json: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure time and memory of the layer beside instance norm and self-attention, by map size (the paper's Table 5).

    Args:
        sizes: Sides of the maps in pixels.
        batch: Maps per call.
        channels_last: Memory order of the maps; NCHW without it.
        rounds: Samples of each call.
        limit: Seconds; a call that takes longer is measured once, and not at larger sizes.
        json: Also write the report to this file, which it replaces.
    """
    from attnorm.bench import bench_layer

    bench_layer(
        json,
        sizes=sizes,
        batch=batch,
        channels=channels,
        entities=entities,
        dtype=dtype,
        channels_last=channels_last,
        device=device,
        rounds=rounds,
        limit=limit,
    )
