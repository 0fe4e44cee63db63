"""Sharing a trained model: a folder with its weights, sample images and a model card, and its upload to the Hub."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PackageOptions:  # here, so that the command line can show them without PyTorch
    """What a model card says and a run does not record.

    Args:
        name: By which others load the model (default: the folder's or repository's).
        licence: Of the weights, as the Hub spells it (default mit).
        data_id: Of your own training images: their name on the Hub, or a short name.
        data_about: What they are, in a sentence.
        data_licence: Their licence.
        data_url: Where they come from.
    """

    name: str | None = None
    licence: str = "mit"
    data_id: str = ""
    data_about: str = ""
    data_licence: str = ""
    data_url: str = ""


DEFAULTS = PackageOptions()
