import pytest
import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.svd import SVDLinear
from lowrank_bench.penalties.orthogonality import Orthogonality

SHAPES = [(5, 9, 3), (9, 5, 3), (6, 6, 2), (5, 9, 3)]


def tower(*shapes: tuple[int, int, int]) -> nn.ModuleList:
    torch.manual_seed(0)
    layers = nn.ModuleList(SVDLinear(nn.Linear(i, o), r, 4, 0) for i, o, r in shapes)
    for parameter in layers.parameters():
        nn.init.normal_(parameter)
    return layers.double()


def residuals(layers: nn.ModuleList) -> list[Tensor]:
    found = []
    for layer in layers:
        assert isinstance(layer, SVDLinear)
        identity = torch.eye(layer.rank, dtype=torch.float64)
        found += [layer.P.T @ layer.P - identity, layer.Q @ layer.Q.T - identity]
    return found


def test_the_papers_form_sums_the_squares() -> None:
    layers = tower(*SHAPES)
    expected = 0.3 * sum((r**2).sum() for r in residuals(layers))
    torch.testing.assert_close(Orthogonality(0.3, "squared_sum")(layers), expected)


def test_the_form_of_the_code_is_the_mean_of_the_norms() -> None:
    layers = tower(*SHAPES)
    norms = [(r**2).sum().sqrt() for r in residuals(layers)]
    expected = 0.3 * sum(norms) / len(norms)
    torch.testing.assert_close(Orthogonality(0.3, "mean_norm")(layers), expected)


@pytest.mark.parametrize("form", ["squared_sum", "mean_norm"])
def test_orthonormal_vectors_cost_nothing_and_have_finite_gradients(form: str) -> None:
    layers = tower((6, 7, 2))
    (layer,) = layers
    assert isinstance(layer, SVDLinear)
    with torch.no_grad():
        layer.P.copy_(torch.eye(7, 2))
        layer.Q.copy_(torch.eye(2, 6))
    penalty = Orthogonality(1, form)(layers)  # type: ignore[arg-type]
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(0, abs=1e-12)
    assert layer.P.grad is not None
    assert layer.P.grad.isfinite().all()


@pytest.mark.parametrize("form", ["squared_sum", "mean_norm"])
def test_the_gradient_is_that_of_the_value(form: str) -> None:
    layers = tower(*SHAPES[:3])
    penalty = Orthogonality(0.3, form)  # type: ignore[arg-type]

    def value(*factors: Tensor) -> Tensor:
        return penalty(layers)

    factors = [p for name, p in layers.named_parameters() if name.endswith((".P", ".Q"))]
    assert torch.autograd.gradcheck(value, factors)


def test_under_autocast_it_is_measured_in_full_precision() -> None:
    layers = tower(*SHAPES).float()
    penalty, results = Orthogonality(1, "squared_sum"), []
    factors = [p for name, p in layers.named_parameters() if name.endswith(("P", "Q"))]
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found = penalty(layers)
            results.append([found, *torch.autograd.grad(found, factors)])
    for plain, under_autocast in zip(*results, strict=True):
        assert torch.equal(plain, under_autocast)


@pytest.mark.parametrize("form", ["squared_sum", "mean_norm"])
def test_descending_it_makes_the_vectors_orthonormal(form: str) -> None:
    layers = tower((12, 16, 3))
    penalty = Orthogonality(1, form)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.01)
    for _ in range(600):
        optimizer.zero_grad()
        penalty(layers).backward()
        optimizer.step()
    assert all(float(r.detach().norm()) < 0.2 for r in residuals(layers))


@pytest.mark.reference
def test_the_form_of_the_code_is_pefts() -> None:
    import peft
    from transformers.modeling_outputs import SequenceClassifierOutput

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(5, 9), nn.Linear(9, 4)

        def forward(self, x: Tensor) -> SequenceClassifierOutput:
            return SequenceClassifierOutput(loss=torch.zeros(()))  # type: ignore[arg-type]

    config = peft.AdaLoraConfig(
        init_r=3, target_r=1, total_step=9, target_modules=["one", "two"], orth_reg_weight=0.3
    )
    model = peft.get_peft_model(Model(), config)
    layers = tower((5, 9, 3), (9, 4, 3)).float()
    their = dict(model.named_parameters())
    with torch.no_grad():
        for name, layer in zip(("one", "two"), layers, strict=True):
            assert isinstance(layer, SVDLinear)
            for factor, ours in (("lora_B", layer.P), ("lora_A", layer.Q)):
                their[f"base_model.model.{name}.{factor}.default"].copy_(ours)
    expected = model.base_model(torch.zeros(1, 5)).loss
    torch.testing.assert_close(Orthogonality(0.3, "mean_norm")(layers), expected)


def test_a_model_without_svd_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.penalty: .*no SVD layer"):
        Orthogonality(0.1, "squared_sum")(nn.Linear(2, 2))


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf"), "much", None, True])
def test_a_weight_that_is_none_is_refused(weight: object) -> None:
    with pytest.raises(ConfigError, match=rf"method\.penalty\.weight={weight}: "):
        Orthogonality(weight, "squared_sum")  # type: ignore[arg-type]


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.penalty\.form=norm: .*squared_sum, mean_norm"):
        Orthogonality(0.1, "norm")  # type: ignore[arg-type]
