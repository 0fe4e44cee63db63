"""Small trained models that come with the package: a folder each, in the form of `save_pretrained`, with a card.

A folder's name is the model's. `attnorm package` makes such folders.
"""

from pathlib import Path

HOME = Path(__file__).parent
CONFIG_FILE, CARD_FILE = "config.json", "README.md"
TRAINING_FILE = "training.json"  # of which step of its training the weights are


def shipped_models() -> dict[str, Path]:
    """The folder of every model by name, in alphabetical order."""
    return {path.parent.name: path.parent for path in sorted(HOME.glob(f"*/{CONFIG_FILE}"))}
