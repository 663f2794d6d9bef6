"""Any tuner of Hugging Face PEFT as an adapter; PEFT is imported here and nowhere else."""

from contextlib import suppress

from lowrank_bench.errors import ConfigError
from lowrank_bench.peft_bridge.package import import_peft
from lowrank_bench.peft_bridge.tuner import adapt, tuner_of

__all__ = ["adapt", "tuner_of"]

with suppress(ConfigError):  # before anybody imports it aloud; `adapt` says what is missing
    import_peft()
