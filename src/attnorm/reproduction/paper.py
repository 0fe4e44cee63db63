"""The paper's tables as data: whose rows they have, and the figures that it prints."""

from __future__ import annotations

from typing import Literal, NamedTuple

from attnorm.metrics.evaluation import PER_CLASS, Frequencies

NAMES = {
    "ac-gan": "AC-GAN",
    "sn-gan": "SN-GAN",
    "sn-gan-star": "SN-GAN*",
    "sa-gan": "SA-GAN",
    "an-gan": "AN-GAN",
    "an-gan-bn": "AN-GAN, batch statistics",
    "an-gan-no-orth": "AN-GAN, no orthogonal loss",
    "an-gan-no-ssr": "AN-GAN, no self-sampling",
    "an-gan-n8": "AN-GAN, 8 entities",
    "an-gan-n32": "AN-GAN, 32 entities",
    "inpaint-ca": "CA",
    "inpaint-an": "AN",
    "inpaint-plain": "no long-range layer",
}


class Scale(NamedTuple):
    """At what size a table is reproduced: the presets' kind of data, and how it is measured by default.

    extractor: of the metrics; empty where none is needed. num: pictures to measure with, 0 for all that there are.
    source: what is trained on if nothing is named; None: it has to be named. num_real: real pictures to compare
    generated ones with, 0 for all, None for as many as are generated. frequencies: how often each class is generated.
    per_class: images that an intra-FID generates of each class.
    """

    data: str
    extractor: str
    num: int
    source: str | None
    num_real: int | None = None
    frequencies: Frequencies = "data"
    per_class: int = PER_CLASS


class PaperTable(NamedTuple):
    """A table of the paper.

    metrics: the figures of ours that stand beside it, as keys of `attnorm evaluate`, or of its inpainting record.
    columns: the paper's names of them.
    printed: what it prints for each system, in the order of `columns`; None where it prints nothing.
    """

    title: str
    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    printed: dict[str, tuple[float | None, ...]]
    task: Literal["class-conditional", "inpainting"] = "class-conditional"

    @property
    def scales(self) -> dict[str, Scale]:
        return INPAINTING_SCALES if self.task == "inpainting" else SCALES

    @property
    def pictures(self) -> str:
        """What the paper trains on."""
        return "Paris StreetView" if self.task == "inpainting" else "ImageNet"


TABLES = {
    "table1": PaperTable(
        "Table 1: class-conditional generation",
        ("fd", "intra", "is"),
        ("FID ↓", "intra-FID ↓", "IS ↑"),
        {
            "ac-gan": (None, 260.0, 28.5),
            "sn-gan": (27.62, 92.4, 36.80),
            "sn-gan-star": (22.96, None, 42.87),
            "sa-gan": (18.65, 83.7, 52.52),
            "an-gan": (17.84, 83.40, 46.57),
        },
    ),
    # The figures are those of its classes, below.
    "table2": PaperTable(
        "Table 2: intra-FID by class", ("intra",), ("intra-FID ↓",), {"sn-gan": (), "sa-gan": (), "an-gan": ()}
    ),
    "table3": PaperTable(
        "Table 3: inpainting",
        ("psnr", "ssim", "mae"),
        ("PSNR ↑", "SSIM ↑", "MAE ↓"),
        {
            "inpaint-ca": (23.78, 0.8406, 0.0338),
            "inpaint-an": (25.09, 0.8541, 0.0334),
            "inpaint-plain": (None, None, None),
        },
        "inpainting",
    ),
    "table4": PaperTable(
        "Table 4: ablations",
        ("is", "fd"),
        ("IS ↑", "FID ↓"),
        {
            "an-gan-bn": (43.92, 19.59),
            "an-gan-no-orth": (45.99, 18.07),
            "an-gan-no-ssr": (37.86, 23.58),
            "an-gan-n8": (45.51, 19.01),
            "an-gan": (46.57, 17.84),
            "an-gan-n32": (47.14, 17.75),
        },
    ),
}

# Table 2 by ImageNet's class index: name, then SN-GAN, SA-GAN and AN.
CLASSES = {
    825: ("stone wall", 49.3, 57.5, 34.16),
    974: ("geyser", 19.5, 21.6, 13.97),
    979: ("valley", 26.0, 39.7, 22.90),
    991: ("coral fungus", 37.2, 38.0, 24.02),
    14: ("indigo bunting", 66.8, 53.0, 42.54),
    141: ("redshank", 60.1, 48.9, 39.06),
    247: ("saint bernard", 55.3, 35.7, 39.36),
    282: ("tiger cat", 90.2, 88.1, 66.65),
}


SCALES = {
    # The field's protocol of the tables: all training pictures, classes all alike (docs/evaluation.md).
    "paper": Scale("imagenet128", "inception", 50_000, None, num_real=0, frequencies="uniform"),
    "cifar10": Scale("cifar10", "inception", 50_000, None),
    "cpu": Scale("cifar10-cpu", "efficientnet-lite0", 5_000, "digits", per_class=500),
}

INPAINTING_SCALES = {
    "paper": Scale("256", "", 0, None),
    "cpu": Scale("128-cpu", "", 0, "photos"),
}
