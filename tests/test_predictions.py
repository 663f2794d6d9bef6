import numpy as np
import torch

from lowrank_bench.predictions import FILE, read_predictions, write_predictions


def test_what_was_said_of_each_example_comes_back(tmp_path) -> None:
    parts = [
        {"loss": torch.tensor([0.5, 2.0]), "correct": torch.tensor([True, False])},
        {"loss": torch.tensor([1.0]), "correct": torch.tensor([True])},
    ]
    write_predictions(tmp_path, parts)
    found = read_predictions(tmp_path)
    assert found is not None
    assert found["loss"].tolist() == [0.5, 2.0, 1.0]
    assert found["correct"].tolist() == [True, False, True]


def test_ten_thousand_labels_take_less_than_a_byte_each_and_a_half_for_the_loss(tmp_path) -> None:
    rng = torch.Generator().manual_seed(0)
    predicted = torch.randint(10, (10_000,), generator=rng)
    losses = torch.rand(10_000, generator=rng)
    write_predictions(tmp_path, [{"predicted": predicted, "loss": losses}])
    assert (tmp_path / FILE).stat().st_size < 30_000
    found = read_predictions(tmp_path)
    assert found is not None
    assert np.array_equal(found["predicted"], predicted.numpy())
    assert found["predicted"].dtype == np.uint8


def test_a_missing_or_torn_file_or_a_pickle_is_none(tmp_path) -> None:
    assert read_predictions(tmp_path) is None
    write_predictions(tmp_path, [{"loss": torch.ones(100)}])
    whole = (tmp_path / FILE).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text"):
        (tmp_path / FILE).write_bytes(content)
        assert read_predictions(tmp_path) is None
    np.savez(tmp_path / "other.npz", num_examples=1, loss=np.array([{"a": 1}], dtype=object))
    (tmp_path / "other.npz").replace(tmp_path / FILE)
    assert read_predictions(tmp_path) is None
