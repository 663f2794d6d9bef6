"""Learning rates that differ by role."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.wrapper import Wrapper
from lowrank_bench.receipt import Receipt, receipt

TOLERANCE = 1e-9  # of a ratio; a schedule multiplies in double precision

Groups = list[dict[str, Any]]


def with_ratio(
    groups: Groups,
    *,
    inner: Callable[[Groups], Optimizer],
    ratio: float,
    roles: Sequence[str],
    over: str,
    reference_groups: bool,
) -> "RoleRates":
    """LoRA+: eta_role = ratio * eta for each of `roles`, all else as the rule `inner` has it.

    eta is what `inner` gives the group, so any rule keeps its own rates, decay and momentum;
    `over` is the role that the ratio is counted over, which must train too.

    Source: Hayou 2024, section 4, arXiv 2402.12354.
    Differs: the reference also gives the ratio to all parameters of one dimension (biases,
    norms, DoRA's magnitudes) and decays neither biases nor norms; `reference_groups` does that.
    Its own rate for embeddings is left out. PEFT's drops the rule's `weight_decay`; here it stays.
    Raises: ConfigError for a ratio below 1, a role that nobody has, or where `over` is frozen.
    """
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not ratio >= 1:
        raise ConfigError(f"method.optimizer.ratio={ratio}: must be a number, 1 or more")
    if isinstance(roles, str) or not roles:
        raise ConfigError(f"method.optimizer.roles={roles!r}: must be a list, e.g. '[lora_B]'")
    present = sorted({group["role"] for group in groups})
    for role in roles:
        if role not in present:
            raise ConfigError(
                f"method.optimizer.roles: nothing that trains is '{role}' "
                f"(there is: {', '.join(present)})"
            )
    if over not in present:
        raise ConfigError(
            f"method.optimizer.over={over}: LoRA+ gives {', '.join(roles)} {ratio:g} times the "
            f"learning rate of {over}, but no {over} trains (LoRA-FA and others freeze it)"
        )
    if reference_groups:
        groups = [part for group in groups for part in _vectors_apart(group)]
    built = inner([group | {"lr_ratio": _ratio(group, ratio, roles)} for group in groups])
    for group in built.param_groups:
        group["lr"] = group["lr"] * group["lr_ratio"]
    return RoleRates(built, over)


def _vectors_apart(group: dict[str, Any]) -> Groups:
    """The group in two: matrices, and what has one dimension."""
    parts = []
    by_kind = sorted(group["params"], key=lambda pair: pair[1].ndim == 1)
    for is_vector, params in groupby(by_kind, key=lambda pair: pair[1].ndim == 1):
        part = group | {"params": list(params), "vectors": is_vector}
        if is_vector and group["role"] in ("bias", "dense"):  # a dense vector is a norm's
            part["weight_decay"] = 0.0
        parts.append(part)
    return parts


def _ratio(group: dict[str, Any], ratio: float, roles: Sequence[str]) -> float:
    return float(ratio) if group["role"] in roles or group.get("vectors") else 1.0


class RoleRates(Wrapper):
    """A rule whose groups learn at rates of a fixed ratio; it watches that they keep it.

    Receipt `lr_ratio`: by role, the rate over that of `over` at the end; ok where, at every
    update, it was what it began as. `decay_kept`: the decay by role, ok where it is what the
    rule began with. Schedules must multiply, as those of this package do.
    """

    def __init__(self, inner: Optimizer, over: str) -> None:
        super().__init__(inner)
        self.over = over
        self._base = next(i for i, g in enumerate(self.param_groups) if g["role"] == over)
        self._rates = [float(group["lr"]) for group in self.param_groups]
        self._decay = [group.get("weight_decay") for group in self.param_groups]
        self.findings["lr_ratio_off"] = 0.0  # the furthest from the start, as a share

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        now, began = self.param_groups[self._base]["lr"], self._rates[self._base]
        off = [  # a rate of 0 has no ratio
            abs(group["lr"] / rate - now / began)
            for group, rate in zip(self.param_groups, self._rates, strict=True)
            if rate and began
        ]
        self.findings["lr_ratio_off"] = max([self.findings["lr_ratio_off"], *map(float, off)])
        return self.inner.step(closure)

    def receipts(self, model: nn.Module) -> dict[str, Receipt]:
        base = self.param_groups[self._base]["lr"]
        ratios = {
            _label(group): float(group["lr"] / base) if base else None
            for group in self.param_groups
        }
        kept = self.findings["lr_ratio_off"] <= TOLERANCE
        decay = {_label(group): group.get("weight_decay") for group in self.param_groups}
        same = [group.get("weight_decay") for group in self.param_groups] == self._decay
        return super().receipts(model) | {
            "lr_ratio": receipt(
                kept, ratios, f"of {self.over}'s" if kept else "the ratio did not survive"
            ),
            "decay_kept": receipt(same, decay, "" if same else "it changed on the way"),
        }


def _label(group: dict[str, Any]) -> str:
    return f"{group['role']} vectors" if group.get("vectors") else group["role"]
