"""`python -m attnorm` is the same program as `attnorm`."""

import sys

from attnorm.cli import main

sys.exit(main())
