"""The trained models in the package: each a folder as `save_pretrained` writes it, with a card.

A folder's name is the model's. `attnorm package` makes such folders.
"""

from pathlib import Path

HOME = Path(__file__).parent
CONFIG_FILE, CARD_FILE = "config.json", "README.md"
TRAINING_FILE = "training.json"  # the training step of the weights


def shipped_models() -> dict[str, Path]:
    """The folder of every model by name, in alphabetical order."""
    return {path.parent.name: path.parent for path in sorted(HOME.glob(f"*/{CONFIG_FILE}"))}
