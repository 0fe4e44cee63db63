"""`attnorm bench layer` for a clone: python benchmarks/layer.py [--sizes 128 256] [--json FILE]."""

import sys

from attnorm.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "layer", *sys.argv[1:]]))
