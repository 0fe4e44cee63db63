"""Time and memory of the layer beside instance norm and self-attention, by map size: the paper's Table 5."""

from __future__ import annotations

import argparse

from attnorm.cli.arguments import file_path


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="benchmark", required=True)
    parser = commands.add_parser("layer", help="the paper's Table 5 on this machine", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="sides of the maps (128 256 512 1024)")
    parser.add_argument("--batch", type=int, metavar="N", help="maps per call (1)")
    parser.add_argument("--channels", type=int, metavar="N", help="(32)")
    parser.add_argument("--entities", type=int, metavar="N", help="(16)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    parser.add_argument("--channels-last", action="store_true", help="memory format of the maps")
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, metavar="N", help="samples of each call (15)")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="slower calls are not tried on larger maps (2)")
    parser.add_argument("--json", type=file_path, metavar="FILE", help="write the measurements here too")


def run(args: argparse.Namespace) -> None:
    from attnorm.bench import bench_layer

    given = {name: value for name, value in vars(args).items() if value is not None and name != "benchmark"}
    bench_layer(**given)
