"""Peaks of memory against what can be written down."""

import pytest
import torch
from torch import nn

from lowrank_bench.callbacks.memory import DevicePeak, allocations, resident_peak_bytes

BATCH, IN, OUT = 64, 256, 128


def update(layer: nn.Linear, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    layer.weight.grad = None
    y = layer(x)
    y.backward(slope)
    optimizer.step()


slope = torch.ones(BATCH, OUT)


def test_a_linear_layer_under_sgd_holds_its_outputs_and_its_gradient() -> None:
    layer, x = nn.Linear(IN, OUT, bias=False), torch.randn(BATCH, IN)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with allocations() as growth:
        update(layer, optimizer, x)
    assert growth() == 4 * (BATCH * OUT + OUT * IN)


def test_momentum_is_allocated_by_the_first_update_and_there_in_the_second() -> None:
    layer, x = nn.Linear(IN, OUT, bias=False), torch.randn(BATCH, IN)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    with allocations() as first:
        update(layer, optimizer, x)
    layer.weight.grad = None
    with allocations() as second:
        update(layer, optimizer, x)
    assert first() == 4 * (BATCH * OUT + 2 * OUT * IN)
    beside = second() - 4 * (BATCH * OUT + OUT * IN)
    assert 0 <= beside < 64  # a factor that torch makes a tensor of


def test_what_follows_one_another_is_not_added_up() -> None:
    with allocations() as growth:
        for _ in range(3):
            torch.zeros(1000)
        kept = torch.zeros(100)
    assert growth() == 4000
    del kept


def test_temporary_memory_inside_of_an_operation_is_seen() -> None:
    a = torch.randn(200, 100)
    with allocations() as growth:
        U, S, Vh = torch.linalg.svd(a, full_matrices=False)
    assert growth() > U.nbytes + S.nbytes + Vh.nbytes


def test_the_profiler_says_nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with allocations():
        torch.zeros(10)
    assert capfd.readouterr() == ("", "")


def test_the_resident_peak_is_in_bytes() -> None:
    block = torch.ones(50_000_000)  # 0.2 GB, touched
    assert resident_peak_bytes() > block.nbytes
    assert resident_peak_bytes() < 10**12


def test_a_gpu_is_asked_only_while_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an allocator that holds 10 bytes between, 70 in an evaluation, 30 in training."""
    peaks = {"now": 10}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: peaks.update(now=10))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: peaks["now"])
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 2 * peaks["now"])
    device = DevicePeak(torch.device("cuda"))
    for training, evaluation in ((20, 70), (30, 70), (25, 70)):
        device.open()
        peaks["now"] = training
        device.close()
        peaks["now"] = evaluation
        device.close()  # the end of an epoch after its evaluation
    assert (device.allocated, device.reserved) == (30, 60)
