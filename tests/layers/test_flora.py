import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.inits.flora import flora
from lowrank_bench.layers.flora import MANY, FLoRABank
from lowrank_bench.layers.routing import check_adapters, route, router

K = 4
SHAPES = {"tall": (5, 9, 3), "wide": (9, 5, 3), "square": (6, 6, 2)}
FORMS = ["multiplicative", "additive", "additive, many"]
LEADING = [(), (3,), (2, 3)]  # between the examples and the features


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def started(i: int, o: int, rank: int, form: str, bias: bool = True) -> FLoRABank:
    """In float64, so that only a wrong formula is beyond the tolerance."""
    base = nn.Linear(i, o, bias).requires_grad_(False)
    num_adapters = MANY + 1 if form.endswith("many") else K
    bank = FLoRABank(base, rank, num_adapters, form.split(",")[0], alpha=6).double()
    with torch.no_grad():
        flora(bank)
    return bank


def trained(*shape: int, form: str, bias: bool = True) -> FLoRABank:
    bank = started(*shape, form=form, bias=bias)
    for stack in (bank.A, bank.B):
        nn.init.normal_(stack)
    return bank


def grads(bank: FLoRABank) -> tuple[Tensor, Tensor]:
    assert bank.A.grad is not None and bank.B.grad is not None
    return bank.A.grad, bank.B.grad


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_batch_is_a_loop_over_its_examples_and_their_dense_weights(
    shape: tuple[int, int, int], form: str, leading: tuple[int, ...], bias: bool
) -> None:
    bank = trained(*shape, form=form, bias=bias)
    ids = torch.tensor([2, 0, 2, 3, 0])
    x = torch.randn(5, *leading, shape[0], dtype=torch.float64, requires_grad=True)
    bank.ids = ids
    y = bank(x)
    one_by_one = [
        F.linear(x[e], bank.effective_weight(int(k)), bank.base.bias) for e, k in enumerate(ids)
    ]
    torch.testing.assert_close(y, torch.stack(one_by_one))
    wanted = (bank.A, bank.B, x)
    ours = torch.autograd.grad(y.square().sum(), wanted)
    theirs = torch.autograd.grad(torch.stack(one_by_one).square().sum(), wanted)
    for gradient, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("form", FORMS)
def test_autocast_computes_nearly_the_same(form: str) -> None:
    bank = trained(6, 5, 2, form=form).float()
    bank.ids = torch.tensor([2, 0, 2, 3])
    x = torch.randn(4, 3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = bank(x)
    y.float().square().sum().backward()
    torch.testing.assert_close(y.float(), bank(x), rtol=0.05, atol=0.2)
    assert all(gradient.dtype == torch.float32 for gradient in grads(bank))


@pytest.mark.parametrize("form", FORMS)
def test_the_dense_weight_of_an_adapter_is_the_formula(form: str) -> None:
    bank = trained(6, 5, 2, form=form)
    weight, product = bank.base.weight, bank.B[3] @ bank.A[3]
    expected = weight * product if form == "multiplicative" else weight + 3 * product
    torch.testing.assert_close(bank.effective_weight(3), expected)


@pytest.mark.parametrize("form", FORMS)
def test_an_order_of_the_examples_is_the_order_of_the_outputs(form: str) -> None:
    bank = trained(6, 5, 2, form=form)
    x, ids = torch.randn(8, 6, dtype=torch.float64), torch.randint(K, (8,))
    order = torch.randperm(8)
    bank.ids = ids
    y = bank(x)
    bank.ids = ids[order]
    torch.testing.assert_close(bank(x[order]), y[order])


@pytest.mark.parametrize("form", FORMS)
def test_absent_adapters_get_a_gradient_of_exactly_zero(form: str) -> None:
    bank = trained(6, 5, 2, form=form)
    bank.ids = torch.tensor([3, 1, 3])
    bank(torch.randn(3, 6, dtype=torch.float64)).square().sum().backward()
    for gradient in grads(bank):
        present = gradient.flatten(1).any(1)
        assert present.nonzero().flatten().tolist() == [1, 3]


@pytest.mark.parametrize("form", FORMS)
def test_without_ids_all_is_adapter_0s(form: str) -> None:
    bank = trained(6, 5, 2, form=form)
    x = torch.randn(3, 4, 6, dtype=torch.float64)
    alike = bank(x)
    bank.ids = torch.zeros(3, dtype=torch.int64)
    torch.testing.assert_close(bank(x), alike)
    torch.testing.assert_close(alike, F.linear(x, bank.effective_weight(0), bank.base.bias))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_adapter_starts_as_the_base(shape: tuple[int, int, int], form: str) -> None:
    bank = started(*shape, form=form)
    x = torch.randn(K, shape[0], dtype=torch.float64)
    bank.ids = torch.arange(K)
    torch.testing.assert_close(bank(x), bank.base(x))
    bank(x).square().sum().backward()
    B = grads(bank)[1][:K]
    assert B.all()  # every component of every adapter can leave its start


def test_all_ones_multiply_by_nothing() -> None:
    bank = started(6, 5, 1, form="multiplicative")
    assert (bank.A == 1).all() and (bank.B == 1).all()
    assert torch.equal(bank.effective_weight(2), bank.base.weight)


def test_a_multiplied_weight_is_of_higher_rank_than_its_factors_and_keeps_zeros() -> None:
    bank = trained(9, 9, 1, form="multiplicative")
    bank.base.weight.data[2, 3] = 0
    assert torch.linalg.matrix_rank(bank.effective_weight(1)) == 9
    assert bank.effective_weight(1)[2, 3] == 0


@pytest.mark.parametrize("form", ["multiplicative", "additive"])
def test_only_a_bank_of_one_merges(form: str) -> None:
    with pytest.raises(TypeError, match="4 adapters"):
        trained(6, 5, 2, form=form).merge_()
    bank = FLoRABank(nn.Linear(6, 5), 2, 1, form, alpha=6).double().requires_grad_(False)
    for stack in (bank.A, bank.B):
        nn.init.normal_(stack)
    assert bank.mergeable
    x = torch.randn(7, 6, dtype=torch.float64)
    before = bank(x)
    bank.merge_()
    torch.testing.assert_close(bank(x), before)
    torch.testing.assert_close(bank.base(x), before)


def test_ids_reach_every_bank_and_leave_with_none() -> None:
    inner = nn.Sequential(nn.Tanh(), trained(6, 5, 2, form="multiplicative"))
    model = nn.Sequential(trained(6, 6, 2, form="additive"), inner)
    ids = torch.tensor([1, 2])
    route(model, ids)
    assert all(m.ids is ids for m in model.modules() if isinstance(m, FLoRABank))
    assert model(torch.randn(2, 6, dtype=torch.float64)).shape == (2, 5)
    router(model)(None)
    assert all(m.ids is None for m in model.modules() if isinstance(m, FLoRABank))
    router(nn.Linear(2, 2))(ids)  # no bank: nothing happens


@pytest.mark.parametrize("x", [torch.randn(2, 6), torch.randn(6)])
def test_another_number_of_ids_than_examples_is_refused(x: Tensor) -> None:
    bank = FLoRABank(nn.Linear(6, 5), 2, 4, "additive", alpha=1)
    bank.ids = torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match="3 adapter ids"):
        bank(x)


def test_data_with_more_adapters_than_a_bank_are_refused() -> None:
    model = nn.Sequential(trained(6, 5, 2, form="additive"))
    check_adapters(model, K)
    check_adapters(model, None)
    check_adapters(nn.Linear(2, 2), 99)
    with pytest.raises(ConfigError, match=r"^data\.adapters=5: .*'0' holds 4; .*num_adapters=5$"):
        check_adapters(model, 5)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"form": "additiv"}, r"method\.adapter\.form=additiv: must be one of"),
        ({"num_adapters": 0}, r"method\.adapter\.num_adapters=0: .*positive"),
        ({"rank": 0}, r"method\.adapter\.rank=0: .*positive"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, object], complaint: str) -> None:
    settings = {"rank": 2, "num_adapters": 2, "form": "additive", "alpha": 1}
    with pytest.raises(ConfigError, match=complaint):
        FLoRABank.adapt(nn.Sequential(nn.Linear(4, 4)), ["0"], **(settings | change))


@pytest.mark.reference
def test_the_additive_form_is_that_of_peft_with_adapters_mixed_in_a_batch() -> None:
    from peft import LoraConfig
    from peft.tuners.lora import Linear as PeftLinear

    bank = trained(6, 5, 2, form="additive").float()
    names = [str(k) for k in range(K)]
    config = LoraConfig(r=2, lora_alpha=6)
    theirs = PeftLinear(copy.deepcopy(bank.base), names[0], config, r=2, lora_alpha=6)
    for k, name in enumerate(names):
        if k:
            theirs.update_layer(name, 2, 6, config=config)
        theirs.lora_A[name].weight.data = bank.A[k].detach().clone()  # type: ignore[assignment]
        theirs.lora_B[name].weight.data = bank.B[k].detach().clone()  # type: ignore[assignment]
    ids = torch.tensor([2, 0, 2, 3, 1])
    x = torch.randn(5, 3, 6)
    bank.ids = ids
    expected = theirs.eval()(x, adapter_names=[names[k] for k in ids])
    torch.testing.assert_close(bank(x), expected, rtol=1e-5, atol=1e-5)
