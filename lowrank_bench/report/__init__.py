"""Records in, tables and pages out. Nothing below this folder imports torch or lightning."""

from lowrank_bench.report.build import report

__all__ = ["report"]
