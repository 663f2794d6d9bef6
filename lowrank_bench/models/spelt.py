"""GPT-2 and its kin spelt in plain linear layers, on which methods act; and back."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

PARTS = {1: (), 2: ("k", "v"), 3: ("q", "k", "v")}  # by how many matrices one layer holds
FUSED = "c_attn"


class Joined(nn.Module):
    """x (..., i) -> (..., o), the outputs of linear layers side by side: [q(x), k(x), v(x)]."""

    def __init__(self, **parts: nn.Linear) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.children()], -1)


def spell_out(hf: Any) -> None:
    """Put nn.Linear in the place of each Conv1D of transformers; c_attn becomes q, k and v.

    A Conv1D is y = x W + b with W (in, out), a linear layer whose weight is stored transposed,
    and GPT-2's `c_attn` is three in one. Spelt out, LoRA on q and v is what its paper has on
    GPT-2 (Hu 2021, arXiv 2106.09685, section 5.4). Outputs stay what they are.

    What was replaced is kept in `hf.spelt`, {name: its parts}; see `published`.
    """
    from transformers.pytorch_utils import Conv1D

    hf.spelt = {}
    found = [(name, m) for name, m in hf.named_modules() if isinstance(m, Conv1D)]
    for name, conv in found:
        holder, _, own = name.rpartition(".")
        count = conv.nf // conv.nx if own == FUSED else 1
        names = PARTS[count]
        size = conv.nf // count
        each = [
            _linear(w, b, conv.training)
            for w, b in zip(conv.weight.split(size, 1), conv.bias.split(size), strict=True)
        ]
        new = Joined(**dict(zip(names, each, strict=True))) if names else each[0]
        setattr(hf.get_submodule(holder), own, new.train(conv.training))
        hf.spelt[name] = names


def _linear(weight: Tensor, bias: Tensor, training: bool) -> nn.Linear:
    """The layer of a weight (in, out), whose values it copies; without drawing any first."""
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[0], weight.shape[1])
    layer.weight = nn.Parameter(weight.detach().t().contiguous())
    layer.bias = nn.Parameter(bias.detach().clone())
    return layer.train(training)


def published(net: Any) -> Any:
    """The network as others know it: by classes of transformers alone, where it has any.

    Weights are copies; so is what is not spelt out by us, which is `net` itself.
    """
    if hasattr(net, "published"):
        return net.published()
    hf = getattr(net, "hf", None)
    if not getattr(hf, "spelt", None):
        return net
    assert hf is not None
    kind: Any = type(hf)
    with torch.random.fork_rng(devices=[]):  # what it draws is overwritten
        plain = type(net)(kind(hf.config).to(hf.dtype))
    plain.load_state_dict(published_state(net, net.state_dict()))
    return plain.train(net.training)


def published_state(net: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of `net`, or one in its names, by the names and shapes of `published(net)`."""
    spelt = getattr(getattr(net, "hf", None), "spelt", {})
    theirs = dict(state)
    for name, parts in spelt.items():
        own = [f"hf.{name}.{part}" for part in parts] or [f"hf.{name}"]
        weights = [theirs.pop(f"{each}.weight") for each in own]
        biases = [theirs.pop(f"{each}.bias") for each in own]
        theirs[f"hf.{name}.weight"] = torch.cat(weights).t().contiguous()
        theirs[f"hf.{name}.bias"] = torch.cat(biases)
    return theirs
