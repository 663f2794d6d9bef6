"""`python -m lowrank_bench.report` is `lowrank-report`."""

import sys

from lowrank_bench.report.cli import main

sys.exit(main())
