"""Sharing a trained model: a folder with its weights, sample images and a model card, and its upload to the Hub."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PackageOptions:  # here, so that the command line can show them without PyTorch
    """What a model card says and a run does not record.

    Args:
        name: Name by which others load the model (default: that of the folder or repository).
        licence: License of the weights, as the Hub spells it (default: mit).
        data_id: Name of your own training images, on the Hub or a short one.
        data_about: What the training images are, in a sentence.
        data_licence: License of the training images.
        data_url: Where the training images come from.
    """

    name: str | None = None
    licence: str = "mit"
    data_id: str = ""
    data_about: str = ""
    data_licence: str = ""
    data_url: str = ""


DEFAULTS = PackageOptions()
