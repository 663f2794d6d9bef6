"""A study: a sweep with a protocol. The rules are in `lowrank_bench.protocol`; here they train."""
