"""What PyTorch would have drawn."""

from math import sqrt

from torch import nn

from lowrank_bench.inits.domain import starts
from lowrank_bench.layers.factorised import FactorisedLinear


@starts("dense", "factorised")
def torch_default(layer: FactorisedLinear | nn.Linear) -> None:
    """Each factor as the nn.Linear it could be: A ~ U(+-1/sqrt(i)), B and b ~ U(+-1/sqrt(r)).

    Var(BA) = 1/(9i), a third of nn.Linear's. A dense layer is drawn as nn.Linear draws itself.

    Source: torch.nn.Linear.reset_parameters, applied to Linear(i -> r), Linear(r -> o).
    """
    if isinstance(layer, nn.Linear):
        layer.reset_parameters()
        return
    nn.init.uniform_(layer.A, -1 / sqrt(layer.in_features), 1 / sqrt(layer.in_features))
    nn.init.uniform_(layer.B, -1 / sqrt(layer.rank), 1 / sqrt(layer.rank))
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -1 / sqrt(layer.rank), 1 / sqrt(layer.rank))
