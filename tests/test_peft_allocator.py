from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from peft_runs import ADAPT, NAMES, Run, batch, bridged, net
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.peft_bridge import tuner_of
from lowrank_bench.peft_bridge.orthogonality import Orthogonality

pytestmark = pytest.mark.reference


def plain_adalora(num_updates: int) -> tuple[nn.Module, Any]:
    """AdaLoRA as a script without us would train it, by get_peft_model."""
    config = peft.AdaLoraConfig(
        target_modules=NAMES, target_r=2, init_r=3, tinit=2, tfinal=3, total_step=num_updates
    )
    wrapped = peft.get_peft_model(net(), config)  # type: ignore[arg-type]
    return wrapped.base_model.model, wrapped.base_model  # type: ignore[return-value]


PHASES = (f"+{ADAPT}.tinit=2", f"+{ADAPT}.tfinal=3")


def test_adalora_allocates_as_in_a_script_of_pefts() -> None:
    num_updates = 13
    run = Run(bridged("AdaLoraConfig", *PHASES), num_updates)
    model, tuner = plain_adalora(num_updates)
    model.load_state_dict(run.model.state_dict())
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0
    )
    x, y = batch()
    for update in range(num_updates):
        run.advance(1)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        tuner.update_and_allocate(update)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(run.model.get_parameter(name), parameter)
    (hook,) = run.method.hooks.hooks.values()
    receipts = hook.receipts(run.model)
    assert receipts["peft_tuner"]["value"] == "AdaLoraConfig"
    assert sum(receipts["rank_budget"]["value"].values()) == 2 * len(NAMES)


@pytest.mark.parametrize("saved_at", [1, 5, 10, 11, 12])  # before, between and after the masks
def test_a_resumed_adalora_equals_an_uninterrupted_one(saved_at: int) -> None:
    run = Run(bridged("AdaLoraConfig", *PHASES), 13)
    state = run.advance(saved_at).state()
    once = run.advance(13 - saved_at).model.state_dict()
    resumed = Run(bridged("AdaLoraConfig", *PHASES), 13).resume(state, saved_at)
    again = resumed.advance(13 - saved_at).model.state_dict()
    assert all(torch.equal(once[key], again[key]) for key in once)


def test_phases_that_leave_no_time_to_allocate_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"tinit=2, tfinal=3: leave none of the 5 updates"):
        Run(bridged("AdaLoraConfig", *PHASES), 5).advance(1)


def test_the_orthogonality_is_what_peft_adds_to_a_loss_of_its_own() -> None:
    method = bridged("AdaLoraConfig", "method/penalty=peft_orthogonality")
    model = method.apply(net())

    class Output:
        loss: Tensor = torch.zeros(())

    tuner = tuner_of(model)
    model.forward = lambda x: Output()  # type: ignore[method-assign]
    expected = tuner(batch()[0]).loss
    found = method.penalty(model)
    assert isinstance(found, Tensor)
    torch.testing.assert_close(found, expected)
    assert found > 0


def test_the_orthogonality_of_another_adapter_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"is for peft\.AdaLoraConfig alone"):
        Orthogonality()(bridged("LoraConfig").apply(net()))
