"""Any tuner of Hugging Face PEFT as an adapter; whoever needs PEFT calls `import_peft` first."""

from contextlib import suppress

from lowrank_bench.errors import ConfigError
from lowrank_bench.peft_bridge.package import import_peft
from lowrank_bench.peft_bridge.tuner import adapt, tuner_of

__all__ = ["adapt", "tuner_of"]

with suppress(ConfigError):  # before anybody imports it aloud; `adapt` says what is missing
    import_peft()
