"""Serve the web page: inpaint with a brush, generate, interpolate, and look inside the layer.

Without models it takes the runs in ./runs and the trained models that come with attnorm. It is served to this machine
alone, and asks no other one for anything.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path

from attnorm.cli.arguments import path_or_name
from attnorm.errors import UserError

RUNS = Path("runs")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="*",
        type=path_or_name,
        metavar="RUN_OR_MODEL",
        help="runs, saved models and names from `attnorm models`; default: the runs in ./runs and all of those",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve at (default 127.0.0.1, which only this machine reaches)"
    )
    parser.add_argument("--port", type=int, default=7860, help="(default 7860)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--share", action="store_true", help="a public address for three days; needs --public as well")
    parser.add_argument(
        "--public", action="store_true", help="with --share: yes, anybody who has the address may use this machine"
    )


def run(args: argparse.Namespace) -> None:
    _check_sharing(args)
    # Before the hub's library is imported, which reads it then. A model of the hub must be on this machine already.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from attnorm.app.server import check_free, served
    from attnorm.app.shelf import model_at, models_given, models_in
    from attnorm.pipelines import check_device
    from attnorm.shipped import shipped_models

    check_free(args.host, args.port)
    check_device(args.device)
    complaints: list[str] = []
    if args.models:
        models = models_given(args.models)
    else:
        models, complaints = models_in(RUNS)
        taken = {model.name for model in models}
        models += [model_at(path, name) for name, path in shipped_models().items() if name not in taken]
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the page needs the package 'gradio': pip install 'attnorm[train,app]'")
    for complaint in complaints:
        print(f"left out: {complaint}", file=sys.stderr)
    if args.host not in LOOPBACK:
        print(f"served at {args.host}: whoever reaches this machine may use the page", file=sys.stderr)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with served(models, args.host, args.port, args.device, args.share) as addresses:
        for address in filter(None, addresses):
            print(f"{address} with {len(models)} models; Ctrl-C stops it", flush=True)
        try:
            stop.wait()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)


def _check_sharing(args: argparse.Namespace) -> None:
    if args.share and not args.public:
        raise UserError(
            "--share gives everybody who gets the address this machine's processor and your models, through a tunnel "
            "of Hugging Face that is downloaded for it: add --public if that is what you want"
        )
    if args.public and not args.share:
        raise UserError("--public says yes to --share: give both or neither")
