"""Checks, made in every run, that the method really acted."""

from math import sqrt
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from lowrank_bench.callbacks.unhurried import UnhurriedCallback
from lowrank_bench.roles import role_of
from lowrank_bench.task import Classify

Receipt = dict[str, Any]  # {ok: true, false or null where it only informs, value, note}


class Receipts(UnhurriedCallback):
    """Fills `receipts`: how the layers started, and whether every role learned.

    - `start_equals_base`: largest entry of |W_start - W_base| over layers with a base.
    - `start_std_ratio`: std(W_start) / (1/sqrt(3i)) by layer, 1 for nn.Linear's own draw.
    - `scale`: alpha / r of the adapters.
    - `above_break_even`: layers whose rank exceeds o i / (o + i), larger than dense.
    - `gradient_reached`, `moved`: by role, whether a gradient other than zero was seen at the
      end of an epoch, and whether the parameters differ from where they began.
    """

    def __init__(self, model: nn.Module) -> None:
        self.receipts: dict[str, Receipt] = _start(model)
        self._had_gradient: dict[str, bool] = {}
        self._began = _sums(model)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Classify)
        model = pl_module.model
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                role = role_of(model, name)
                seen = parameter.grad is not None and bool(parameter.grad.any())
                self._had_gradient[role] = self._had_gradient.get(role, False) or seen
        moved: dict[str, bool] = {}
        for name, sums in _sums(model).items():
            role = role_of(model, name)
            moved[role] = moved.get(role, False) or sums != self._began[name]
        self.receipts["gradient_reached"] = _by_role(self._had_gradient, "received no gradient")
        self.receipts["moved"] = _by_role(moved, "never moved")


def _by_role(reached: dict[str, bool], complaint: str) -> Receipt:
    missing = [role for role, ok in reached.items() if not ok]
    note = f"{', '.join(missing)} {complaint}" if missing else ""
    return {"ok": not missing, "value": dict(reached), "note": note}


@torch.no_grad()
def _sums(model: nn.Module) -> dict[str, tuple[float, float]]:
    """Two sums that tell whether a tensor changed, without keeping a copy of it."""
    return {
        name: (float(p.cpu().double().sum()), float(p.cpu().double().square().sum()))
        for name, p in model.named_parameters()
        if p.requires_grad
    }


@torch.no_grad()
def _start(model: nn.Module) -> dict[str, Receipt]:
    ratios, scales, above, drifts = {}, {}, [], []
    for name, layer in model.named_modules():
        if (weight := _dense(name, layer)) is None:
            continue
        out_features, in_features = weight.shape
        ratios[name] = float(weight.double().std()) * sqrt(3 * in_features)
        rank = getattr(layer, "rank", None)
        if isinstance(rank, int) and rank > weight.numel() / (out_features + in_features):
            above.append(name)
        if hasattr(layer, "scale"):
            scales[name] = layer.scale
        if hasattr(layer, "start_drift"):
            drifts.append(layer.start_drift)
    receipts: dict[str, Receipt] = {
        "start_std_ratio": {"ok": None, "value": ratios, "note": "of nn.Linear's own"},
        "above_break_even": {"ok": None, "value": above, "note": "layers larger than dense"},
    }
    if scales:
        receipts["scale"] = {"ok": None, "value": scales, "note": "alpha / r"}
    if drifts:
        receipts["start_equals_base"] = {"ok": True, "value": max(drifts), "note": ""}
    return receipts


def _dense(name: str, layer: Any) -> Tensor | None:
    """The weight (o, i) of a linear layer, whatever it is made of; None for other modules."""
    if hasattr(layer, "effective_weight"):
        return layer.effective_weight()
    is_linear = isinstance(layer, nn.Linear) and not name.endswith(".base")
    return layer.weight if is_linear else None
