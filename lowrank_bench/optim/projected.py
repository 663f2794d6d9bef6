"""Optimizers that see a gradient through a small projection: GaLore, Fira and APOLLO."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim.decay import decay_of
from lowrank_bench.optim.moments import FATES, check_rotatable, rotate
from lowrank_bench.optim.parts import Member, Part, Update, as_matrix
from lowrank_bench.optim.per_layer import PerLayer
from lowrank_bench.optim.projection_receipts import projection_receipts
from lowrank_bench.optim.projection_targets import projection_targets
from lowrank_bench.optim.projector import Projection, Projector
from lowrank_bench.optim.wrapper import Wrapper, evaluated
from lowrank_bench.receipt import Receipt
from lowrank_bench.seeds import derive

AT_ONCE = 2**26  # elements of weights that are on their way together: enough to fill a device
OWN = ("P", "Q", "seed", "updates", "last_norm")  # entries of a state that are not the inner's


class Projected(Optimizer):
    """Runs any inner rule on R = P^T G, and moves W by what the rule did there.

    For each parameter that is projected the inner rule holds a stand-in Z of the shape of R,
    which is 0 before a step, has R as its gradient, and is trained at rate 1. After the step
    it holds -N, N being the direction of the rule with its bias correction, and

        W <- W + lr * alpha * back(Z)                 (`move`; Fira and APOLLO do otherwise).

    The 2-D parameters called `names` are projected, and kernels of convolutions (o, i, h, w) as
    matrices (o, i h w); all others take the inner rule as it is.
    Weight decay acts on W when the inner rule would (see decay.py). `param_groups` and `state`
    are of the real parameters: beside the inner rule's tensors (the very ones) `state[p]` holds
    P (m, r) and Q (n, r), or the seed that draws them; `updates`; and `last_norm` of a limiter.
    Nothing else outlives a step. `moments` (keep, reset, rotate) is what becomes of the inner
    state at a renewal, see moments.py.

    `per_layer` steps each parameter inside the backward pass (see per_layer.py).

    Source: Zhao 2024 (GaLore), arXiv 2403.03507, algorithm 1.
    Differs: GaLore's script projects linear layers alone.
    Raises: ConfigError as `projection_targets` and `decay_of` do, for a setting that is none,
    and for a rule that itself stands around another.
    """

    def __init__(
        self,
        inner: Optimizer,
        model: nn.Module,
        names: Sequence[str],
        seed: int,
        *,
        projector: Projector,
        moments: str = "keep",
        per_layer: bool = False,
    ) -> None:
        if moments not in FATES:
            raise ConfigError(
                f"method.transform.moments={moments}: must be one of {', '.join(FATES)}"
            )
        if moments == "rotate" and projector.basis == "gaussian":
            raise ConfigError(
                "method.transform.moments=rotate: a gaussian basis is not orthonormal; "
                "choose keep or reset"
            )
        if moments == "rotate" and type(inner).__module__.startswith("bitsandbytes"):
            raise ConfigError(
                f"method.transform.moments=rotate: the 8-bit moments of {type(inner).__name__} "
                "cannot be turned; choose keep or reset"
            )
        if isinstance(inner, Wrapper):
            raise ConfigError(
                f"method.optimizer: {type(inner).__name__} changes gradients or rates around its "
                "rule, which a projection would bypass; choose a plain rule"
            )
        self._weights = projection_targets(model, names)
        super().__init__(inner.param_groups, inner.defaults)
        self.inner, self.param_groups, self.state = inner, inner.param_groups, inner.state
        self.projector, self.moments, self.seed = projector, moments, seed
        self.findings: dict[str, Any] = {"refreshes": 0, "energy": {}}
        self._parts = list(self._split(dict(model.named_parameters()), per_layer))
        inner.state = defaultdict(dict)  # of the stand-ins; linked at each step
        self._per_layer = PerLayer(self, self._parts, model) if per_layer else None

    def _split(self, parameters: dict[str, nn.Parameter], each: bool) -> Iterator[Part]:
        """Give the inner rule its groups: a projected and a plain one for each that it had."""
        name_of = {id(p): name for name, p in parameters.items()}
        groups, self.inner.param_groups = self.inner.param_groups, []
        for index, group in enumerate(groups):
            decay_of(self.inner, group)  # refuses now rather than in the first step
            members = [(name_of[id(p)], p) for p in group["params"]]
            for projected in (True, False):
                chosen = [(n, p) for n, p in members if (n in self._weights) is projected]
                for some in [[one] for one in chosen] if each else [chosen]:
                    if some:
                        yield self._part(index, group, some, projected)

    def _part(
        self,
        index: int,
        group: dict[str, Any],
        members: list[tuple[str, nn.Parameter]],
        projected: bool,
    ) -> Part:
        held = [(n, p, _stand_in(p) if projected else p) for n, p in members]
        self.inner.add_param_group(_settings(group) | {"params": [(n, q) for n, _, q in held]})
        return Part(index, self.inner.param_groups[-1], held, projected)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = evaluated(closure)
        self.advance(self._parts)
        if self._per_layer is not None:
            self._per_layer.finish()
        return loss

    @torch.no_grad()
    def advance(self, parts: Sequence[Part]) -> None:
        """One update of those parameters of `parts` that have a gradient."""
        for some in _batches(parts):
            updates = []
            for part, members in some:
                part.settings.update(_settings(self.param_groups[part.index]))
                if part.projected:
                    part.settings.update(lr=1.0, weight_decay=0.0)
                for name, p, q in members:
                    # At each step, since a checkpoint or a move to a device renews the dicts.
                    self.inner.state[q] = self.state[p]
                    if part.projected:
                        updates.append(self._project(part, name, p, q))
                part.settings["params"] = [q for _, _, q in members]
            self.inner.param_groups = [part.settings for part, _ in some]
            self.inner.step()
            for update in updates:
                self._finish(update)

    def _project(self, part: Part, name: str, p: nn.Parameter, stand_in: Tensor) -> Update:
        assert p.grad is not None
        G, group = as_matrix(p.grad.contiguous()), self.param_groups[part.index]
        if decay_of(self.inner, group) == "gradient":
            sign = -1 if group.get("maximize") else 1
            G = G.add(as_matrix(p), alpha=sign * group["weight_decay"])
        own = {key: value for key, value in self.state[p].items() if key in OWN}
        dropped: dict[str, Any] = {}
        updates = own.setdefault("updates", 0)
        if updates % self.projector.update_gap == 0:
            seed = derive(self.seed, "projection", updates, name)
            projection = self.projector.renew(G, seed)
            dropped = self._renewed(part, p, own, projection, seed)
            R = projection.project(G)
            if self.projector.basis != "gaussian":
                energy = R.float().square().sum() / G.float().square().sum().clamp_(min=1e-30)
                self.findings["energy"][name] = float(energy)
        else:
            if "seed" in own:
                own["seed"] = own["seed"].cpu()  # a checkpoint's may have moved to the device
                projection = self.projector.renew(G, int(own["seed"]))
            else:
                projection = Projection(own.get("P"), own.get("Q"))
            R = projection.project(G)
        own["updates"] = updates + 1
        stand_in.data = torch.zeros_like(R)
        stand_in.grad = R
        return Update(p, G, R, stand_in, projection, own, part, dropped)

    def _renewed(
        self,
        part: Part,
        p: nn.Parameter,
        own: dict[str, Any],
        projection: Projection,
        seed: int,
    ) -> dict[str, Any]:
        """Keep a new projection, and let the moments meet their fate; return what they drop."""
        old = Projection(own.get("P"), own.get("Q"))
        if self.projector.basis == "gaussian":
            own["seed"] = torch.tensor(seed)  # int64 on the CPU, where reading waits for nothing
        else:
            kept = {"P": projection.P, "Q": projection.Q}
            own.update((key, each) for key, each in kept.items() if each is not None)
        if own["updates"] and self.moments == "rotate":
            rotate(self.state[p], part.settings, old, projection)
        self.findings["refreshes"] += 1
        if self.moments != "reset":
            return {}
        dropped = dict(self.state[p])
        self.state[p].clear()  # the inner rule begins anew where it finds nothing
        return dropped

    def _finish(self, u: Update) -> None:
        """Move the parameter by what the inner rule left in the stand-in."""
        group, state = self.param_groups[u.part.index], self.state[u.p]
        if self.moments == "rotate" and u.own["updates"] == 1:
            check_rotatable(state, type(self.inner).__name__)
        if hasattr(self.inner, "step_factor"):
            u.factor = self.inner.step_factor(u.part.settings, state)  # type: ignore[operator]
        u.lr = float(group["lr"])
        decay, keep = decay_of(self.inner, group), 1 - u.lr * group.get("weight_decay", 0.0)
        if decay == "before":
            u.p.mul_(keep)
        self.move(u)
        if decay == "after":
            u.p.mul_(keep)
        state.update(u.own)  # not sooner: some rules begin only where the state is empty
        for key, value in u.dropped.items():
            state.setdefault(key, value)  # what the rule did not begin again is a hook's
        u.Z.grad, u.Z.data = None, u.Z.new_empty(0)

    def move(self, u: Update) -> None:
        """Change `u.p` by the direction -N in `u.Z`, and keep what the next update needs."""
        raise NotImplementedError

    @property
    def period(self) -> int:
        """Updates between two renewals of the projections."""
        return self.projector.update_gap

    def receipts(self, model: nn.Module) -> dict[str, Receipt]:
        """Those of projection_receipts.py, and of per_layer.py in that mode."""
        states = {name: (p, self.state[p]) for name, p in self._weights.items()}
        found = projection_receipts(self.projector, states, self.findings)
        return found | ({} if self._per_layer is None else self._per_layer.receipts(self, model))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch does, but a tensor keeps its type: torch would cast seeds and 8-bit moments."""
        super().load_state_dict(state_dict)
        ids = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for i, p in zip(ids, params, strict=True):
            for key, value in state_dict["state"].get(i, {}).items():
                loaded = self.state[p][key]
                if isinstance(value, Tensor) and loaded.dtype != value.dtype:
                    self.state[p][key] = value.to(loaded.device)


def _batches(parts: Sequence[Part]) -> Iterator[list[tuple[Part, list[Member]]]]:
    """What has a gradient, in turns: all that is not projected, then as many as AT_ONCE allows.

    Between the projection of a gradient and the move of its weight R and Z live, beside all else.
    """
    some: list[tuple[Part, list[Member]]] = []
    elements = 0
    for part in sorted(parts, key=lambda part: part.projected):
        members = [member for member in part.members if member[1].grad is not None]
        if not part.projected and members:
            some.append((part, members))
            continue
        chunk: list[Member] = []
        for member in members:
            chunk.append(member)
            elements += member[1].numel()
            if elements >= AT_ONCE:
                yield [*some, (part, chunk)]
                some, chunk, elements = [], [], 0
        if chunk:
            some.append((part, chunk))
    if some:
        yield some


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in ("params", "param_names")}


def _stand_in(p: nn.Parameter) -> Tensor:
    """Empty between steps; of the shape of R during one."""
    return torch.empty(0, dtype=p.dtype, device=p.device, requires_grad=True)
