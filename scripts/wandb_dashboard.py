"""`python scripts/wandb_dashboard.py ENTITY/PROJECT [--report] [--dry-run FILE]`.

The same as `lowrank-wandb views`.
"""

import sys

from lowrank_bench.dashboard.cli import main

if __name__ == "__main__":
    sys.exit(main(["views", *sys.argv[1:]]))
