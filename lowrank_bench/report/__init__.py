"""Records in, tables and pages out. Nothing below this folder imports torch or lightning."""

from lowrank_bench.report.build import report
from lowrank_bench.report.frames import Frames, frames

__all__ = ["Frames", "frames", "report"]
