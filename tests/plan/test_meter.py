"""The meter sees what an allocator and torch's own counter would."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lowrank_bench.plan.meter import Meter
from lowrank_bench.plan.stand_in import without_values


def on_meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def test_bytes_live_as_long_as_their_tensors() -> None:
    with without_values() as meter:
        a = on_meta(256)
        assert meter.live_bytes == 1024
        b = a + 1
        del a
        assert (meter.live_bytes, meter.peak_bytes) == (1024, 2048)
        meter.reset_peak()
        assert meter.peak_bytes == 1024
        del b
    assert meter.live_bytes == 0


def test_views_and_writes_in_place_take_nothing() -> None:
    with without_values() as meter:
        a = on_meta(16, 16)
        views = a.T, a[0], a.view(256), a.add_(1), a.mul_(a)
        assert meter.live_bytes == meter.peak_bytes == 1024
        assert all(view.is_meta for view in views)


def test_bytes_are_rounded_up_as_cuda_does() -> None:
    with without_values(Meter(granule=512)) as meter:
        kept = on_meta(1), on_meta(129)
        assert (len(kept), meter.live_bytes) == (2, 512 + 1024)


def test_what_was_made_before_is_counted_once_it_is_shown() -> None:
    layer = nn.Linear(4, 4, device="meta")
    with without_values() as meter:
        meter.watch(*layer.parameters())
        meter.watch(*layer.parameters())
        assert meter.live_bytes == 80


def test_flops_are_those_of_torchs_own_counter() -> None:
    def net() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 7))

    with torch.device("meta"):
        model, x = net(), torch.empty(5, 3, 8, 8)
    with without_values() as meter:
        model(x).sum().backward()
    real = net()
    with FlopCounterMode(display=False) as counter:
        real(torch.zeros(5, 3, 8, 8)).sum().backward()
    assert meter.flops == counter.get_total_flops() > 0


def test_attention_keeps_no_square_of_the_length() -> None:
    with without_values() as meter:
        q, k, v = (on_meta(1, 2, 512, 8).requires_grad_() for _ in range(3))
        began = meter.live_bytes
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        assert y.shape == q.shape
        assert meter.peak_bytes - began < 2 * 512 * 512 * 4
        y.sum().backward()
    assert q.grad is not None and q.grad.shape == q.shape


def test_grouped_queries_and_masks_are_fused_too() -> None:
    with without_values():
        q, k = on_meta(1, 4, 16, 8), on_meta(1, 2, 16, 8)
        mask = torch.ones(1, 1, 16, 16, dtype=torch.bool, device="meta")
        y = F.scaled_dot_product_attention(q, k, k, attn_mask=mask, enable_gqa=True)
    assert y.shape == q.shape


def test_a_number_that_is_asked_for_is_one() -> None:
    with without_values():
        assert on_meta(3).sum().item() == 1.0
        assert bool(on_meta(3).isfinite().all())
        assert (on_meta(2, 2) > 0).tolist() == [[True, True], [True, True]]
        assert on_meta(3).cpu().is_meta


def test_tensors_with_values_keep_theirs() -> None:
    with without_values() as meter:
        step = torch.tensor(2.0)
        step += 1
        for _ in range(2):
            assert torch.full((2, 3), 3.0).sum() * step == 54
        assert meter.live_bytes == 0


def test_the_same_operation_on_other_shapes_is_not_mistaken() -> None:
    with without_values():
        for n in (2, 3):
            assert (on_meta(n, 4) @ on_meta(4, n)).shape == (n, n)
            assert on_meta(n, 4).sum(1, keepdim=True).shape == (n, 1)
            assert on_meta(n, 4).sum(1, keepdim=False).shape == (n,)
        assert (on_meta(2).bfloat16() * 2).dtype is torch.bfloat16
