"""The paper's tables as data: systems, metrics and printed numbers; and the scales at which we repeat them."""

from typing import Any, NamedTuple

from attnorm.metrics.evaluation import PER_CLASS


class Scale(NamedTuple):
    presets: str  # the second part of preset names
    data: str | None  # the default data; None if the user must give it
    protocol: dict[str, Any]  # options of `attnorm evaluate`


class PaperTable(NamedTuple):
    title: str
    scales: dict[str, Scale]
    metrics: dict[str, str]  # by the key of `attnorm evaluate` or of an inpainting record: the name in the paper
    rows: dict[str, tuple[Any, ...]]  # by system: its name in the paper, then a number or None for each metric

    @property
    def is_inpainting(self) -> bool:
        return self.scales is INPAINTING_SCALES


# At the paper's scale, the usual protocol of these tables: all training images, classes equally often.
FULL = {"extractor": "inception", "num": 50_000, "per-class": PER_CLASS}
SMALL = {"extractor": "efficientnet-lite0", "num": 5_000, "per-class": 500}
SCALES = {
    "paper": Scale("imagenet128", None, {**FULL, "num-real": 0, "frequencies": "uniform"}),
    "cifar10": Scale("cifar10", None, FULL),
    "cifar10-cpu": Scale("cifar10-cpu", None, SMALL),
    "cpu": Scale("digits", "digits", SMALL),
}
INPAINTING_SCALES = {"paper": Scale("256", None, {}), "cpu": Scale("128-cpu", "photos", {})}

TABLES = {
    "table1": PaperTable(
        "Table 1: class-conditional generation",
        SCALES,
        {"fd": "FID ↓", "intra": "intra-FID ↓", "is": "IS ↑"},
        {
            "ac-gan": ("AC-GAN", None, 260.0, 28.5),
            "sn-gan": ("SN-GAN", 27.62, 92.4, 36.80),
            "sn-gan-star": ("SN-GAN*", 22.96, None, 42.87),
            "sa-gan": ("SA-GAN", 18.65, 83.7, 52.52),
            "an-gan": ("AN-GAN", 17.84, 83.40, 46.57),
        },
    ),
    "table2": PaperTable(
        "Table 2: intra-FID by class",
        SCALES,
        {"intra": "intra-FID ↓"},
        {"sn-gan": ("SN-GAN",), "sa-gan": ("SA-GAN",), "an-gan": ("AN-GAN",)},  # numbers: CLASSES
    ),
    "table3": PaperTable(
        "Table 3: inpainting",
        INPAINTING_SCALES,
        {"psnr": "PSNR ↑", "ssim": "SSIM ↑", "mae": "MAE ↓"},
        {
            "inpaint-ca": ("CA", 23.78, 0.8406, 0.0338),
            "inpaint-an": ("AN", 25.09, 0.8541, 0.0334),
            "inpaint-plain": ("no long-range layer", None, None, None),
        },
    ),
    "table4": PaperTable(
        "Table 4: ablations",
        SCALES,
        {"is": "IS ↑", "fd": "FID ↓"},
        {
            "an-gan-bn": ("AN-GAN, batch statistics", 43.92, 19.59),
            "an-gan-no-orth": ("AN-GAN, no orthogonal loss", 45.99, 18.07),
            "an-gan-no-ssr": ("AN-GAN, no self-sampling", 37.86, 23.58),
            "an-gan-n8": ("AN-GAN, 8 entities", 45.51, 19.01),
            "an-gan": ("AN-GAN", 46.57, 17.84),
            "an-gan-n32": ("AN-GAN, 32 entities", 47.14, 17.75),
        },
    ),
}

# Table 2: ImageNet's class index; its name, then the intra-FID of SN-GAN, SA-GAN and AN.
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
