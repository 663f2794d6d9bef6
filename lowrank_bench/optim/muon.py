"""Muon for hidden matrices, AdamW for the rest, as one rule."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch.optim import AdamW, Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.wrapper import evaluated
from lowrank_bench.precision import uncast

Groups = list[dict[str, Any]]


class MuonAdamW(Optimizer):
    """M <- mu M + (1 - mu) G; W <- (1 - lr wd) W - lr f NS(mu M + (1 - mu) G), else AdamW.

    NS is the Newton-Schulz iteration towards the nearest orthogonal matrix, in bfloat16, and f
    0.2 sqrt(max(m, n)) for W (m, n), so that a step's root mean square is 0.2 lr, as AdamW's
    mostly is, and both share a learning rate ("match_rms_adamw"), or sqrt(max(1, m / n))
    ("original").
    Every trainable matrix is Muon's, factors too; vectors, and the dense weight of the output
    layer `head`, are AdamW's. Groups of Muon come first; each has its own learning rate.

    Source: Jordan 2024, kellerjordan.github.io/posts/muon; f of Liu 2025, section 2.2, arXiv
    2502.16982. The two rules are torch's own.
    Raises: ConfigError when no matrix trains.
    """

    decay: ClassVar[str] = "before"  # when weight decay acts, for transforms (see decay.py)

    def __init__(
        self,
        groups: Groups,
        *,
        lr: float,
        momentum: float,
        nesterov: bool,
        ns_steps: int,
        adjust_lr_fn: str,
        weight_decay: float,
        head: str | None,
        adamw: dict[str, Any],
    ) -> None:
        matrices = _those(groups, lambda name, p: _is_muons(name, p, head))
        rest = _those(groups, lambda name, p: not _is_muons(name, p, head))
        if not matrices:
            raise ConfigError(
                "method.optimizer=muon: no matrix trains but that of the head, and Muon moves "
                "nothing else; choose method/optimizer=adamw"
            )
        muon = torch.optim.Muon(
            matrices,
            lr=lr,
            momentum=momentum,
            nesterov=nesterov,
            ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn,
            weight_decay=weight_decay,
        )
        self._rules: list[Optimizer] = [muon, AdamW(rest, **adamw)] if rest else [muon]
        super().__init__([g for rule in self._rules for g in rule.param_groups], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = evaluated(closure)
        device = self.param_groups[0]["params"][0].device
        with uncast(device):  # Newton-Schulz chooses its own precision
            for rule in self._rules:
                # At each step: loading replaces groups and state, and a transform sets its own.
                is_muon = isinstance(rule, torch.optim.Muon)
                rule.param_groups = [g for g in self.param_groups if ("ns_steps" in g) is is_muon]
                rule.state = self.state
                rule.step()
        return loss


def _is_muons(name: str, p: torch.Tensor, head: str | None) -> bool:
    return p.ndim == 2 and name != f"{head}.weight"


def _those(groups: Groups, wanted: Callable[[str, torch.Tensor], bool]) -> Groups:
    """The groups with the wanted parameters alone, without those left empty."""
    parts = [
        group | {"params": [(name, p) for name, p in group["params"] if wanted(name, p)]}
        for group in groups
    ]
    return [part for part in parts if part["params"]]
