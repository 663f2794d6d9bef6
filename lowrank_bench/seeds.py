"""Randomness that is derived, never drawn: a seed for each purpose of a run."""

import hashlib


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose of the run `seed`, e.g. `derive(0, "order", epoch)`.

    Two purposes never share a stream, so what one of them draws cannot move another: batch
    order does not depend on how many numbers an init drew.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
