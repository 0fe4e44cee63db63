"""`attnorm app`."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event

from attnorm.cli.arguments import Device, Flag, SavedModel
from attnorm.errors import counted

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def app(
    *models: SavedModel, host: str = "127.0.0.1", port: int = 7860, device: Device = "auto", share: Flag = False
) -> None:
    """Serve the web page: inpaint with a brush, generate, interpolate, and inspect the layer.

    Without models it serves the runs in ./runs and the trained models that come with attnorm. Only this machine can
    reach the page, and the page sends no requests to other machines.

    Args:
        host: Address to serve at.
        port: Port to serve at.
        share: Also serve at a public address for three days, through a tunnel program that Gradio downloads: anybody
            with the address can use this machine and your models.
    """
    # Read when huggingface_hub is imported: a model of the Hub must be on this machine already.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from attnorm.app.model_list import model_at, models_given, models_in
    from attnorm.app.server import served
    from attnorm.pipelines.base import resolve_device
    from attnorm.shipped import shipped_models

    device = str(resolve_device(device))
    chosen, complaints = (models_given([*map(str, models)]), []) if models else models_in(Path("runs"))
    if not models:
        taken = {model.name for model in chosen}
        chosen += [model_at(path, name) for name, path in shipped_models().items() if name not in taken]
    for complaint in complaints:
        print(f"skipped: {complaint}", file=sys.stderr)
    if host not in LOOPBACK:
        print(f"served at {host}: everybody who can reach this machine can use the page", file=sys.stderr)
    with served(chosen, host, port, device, share) as addresses:
        for address in filter(None, addresses):
            print(f"{address} with {counted(len(chosen), 'model')}; Ctrl-C stops it", flush=True)
        with suppress(KeyboardInterrupt):
            Event().wait()
