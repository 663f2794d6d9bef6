"""The precision of optimizer state that is asked for, where the rule has it."""

from omegaconf import DictConfig

from lowrank_bench.errors import ConfigError

STATES = ("fp32", "bf16", "8bit")
WITH_8_BITS = ("torch.optim.AdamW", "lowrank_bench.optim.adamw_hf.AdamWHF")
EIGHT_BITS = "method/optimizer=adam8bit"


def overrides_for(states: str, cfg: DictConfig) -> list[str]:
    """What to add to the command line of `cfg` so that its optimizer keeps `states`.

    torch's rules and ours keep moments in the type of the weights; 8 bits are bitsandbytes'.
    Raises: ConfigError where the rule has no such state.
    """
    target = str(cfg.method.optimizer.get("_target_"))
    rule, method = target.rpartition(".")[2], cfg.method.name
    if states not in STATES:
        raise ConfigError(f"--states={states}: must be one of {', '.join(STATES)}")
    if states == "8bit":
        if target.endswith(".adam8bit"):
            return []
        if target not in WITH_8_BITS:
            raise ConfigError(
                f"--states=8bit: method={method} steps by {rule}, which has no state of 8 bits; "
                f"those with AdamW have, by {EIGHT_BITS}"
            )
        return [EIGHT_BITS]
    if target.endswith(".adam8bit"):
        raise ConfigError(f"--states={states}: method={method} steps by {rule}, which keeps 8 bits")
    wanted = {"fp32": ("32-true", "bf16-mixed", "16-mixed"), "bf16": ("bf16-true",)}[states]
    if cfg.precision not in wanted:
        raise ConfigError(
            f"--states={states}: {rule} keeps its state in the precision of the weights, which is "
            f"{cfg.precision}; say precision={wanted[0]}"
        )
    return []
