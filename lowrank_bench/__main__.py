"""`python -m lowrank_bench` is `lowrank-bench`, with the working directory importable."""

import sys

from lowrank_bench.cli import main

sys.exit(main())
