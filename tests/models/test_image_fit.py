"""Images become what a network was made for, and what cannot is told in one line."""

import pytest
import torch
import torch.nn.functional as F

from lowrank_bench.errors import ConfigError
from lowrank_bench.models.images import Fit


def test_images_stay_as_they_are_where_nothing_is_said() -> None:
    fit = Fit((3, 8, 6), None, None)
    x = torch.randn(2, 3, 8, 6)
    assert fit.shape == (3, 8, 6)
    assert fit(x) is x


def test_grey_images_are_repeated_and_resized() -> None:
    fit = Fit((1, 8, 6), 3, 12)
    x = torch.randn(2, 1, 8, 6)
    y = fit(x)
    assert fit.shape == (3, 12, 12)
    assert y.shape == (2, *fit.shape)
    assert torch.equal(y[:, 0], y[:, 2])
    expected = F.interpolate(x, size=(12, 12), mode="bilinear", antialias=True)
    torch.testing.assert_close(y[:, :1], expected)


def test_shrinking_averages_over_all_pixels() -> None:
    x = torch.zeros(1, 1, 8, 8)
    x[..., 3, 3] = 1  # which plain bilinear sampling would miss
    assert float(Fit((1, 8, 8), None, 2)(x).sum()) > 0


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (((16,), None, None), r"model.in_shape=\[16\]: must be that of images"),
        (((3, 8, 8), 1, None), "model.channels=1: the images have 3 channels"),
        (((1, 8, 8), 0, None), "model.channels=0: must be a positive integer"),
        (((1, 8, 8), None, 2.5), "model.image_size=2.5: must be a positive integer"),
    ],
)
def test_what_cannot_be_made_fit_is_refused(given, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        Fit(*given)
