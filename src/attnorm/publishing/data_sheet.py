"""What pictures a model was trained on, for its card."""

from __future__ import annotations

from dataclasses import dataclass

from attnorm.data.builtin import BUILTIN
from attnorm.errors import UserError


@dataclass(frozen=True)
class DataSheet:
    """identifier: of the set on the hub, or a short name. about: what the pictures are, a sentence without its full
    stop. licence: of the pictures, in words. url: where they come from, or empty.
    """

    identifier: str
    about: str
    licence: str
    url: str = ""


BUILTIN_SHEETS = {
    "digits": DataSheet(
        "digits",
        "Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, UCI), as scikit-learn ships it: "
        "1797 grey pictures of 8×8 pixels, enlarged",
        "CC BY 4.0",
        "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    ),
    "photos": DataSheet(
        "photos",
        "tiles of the two photographs that scikit-learn ships: china.jpg by danielbuechele, flower.jpg by vultilion",
        "CC BY 2.0",
        "https://scikit-learn.org/stable/modules/generated/sklearn.datasets.load_sample_images.html",
    ),
}


def data_sheet(data: str, identifier: str | None, about: str | None, licence: str | None, url: str | None) -> DataSheet:
    """The sheet of the set that a run was trained on: of a built-in one the known one, of another one what is given.

    Raises:
        UserError: something is missing, or given for a set whose sheet is known.
    """
    given = {"--data-id": identifier, "--data-about": about, "--data-licence": licence, "--data-url": url}
    if data in BUILTIN:
        for option, value in given.items():
            if value is not None:
                raise UserError(f"{option} is for pictures of your own, and {data} is built in: leave it out")
        return BUILTIN_SHEETS[data]
    if not identifier or not about or not licence:
        missing = [option for option, value in list(given.items())[:3] if not value]
        raise UserError(f"the card has to say what the pictures are: give {', '.join(missing)}")
    return DataSheet(identifier, about.rstrip("."), licence.rstrip("."), url or "")
