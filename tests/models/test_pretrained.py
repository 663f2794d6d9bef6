"""Weights come from tensors alone, fit or are refused, and the head follows base.head."""

import os
import pickle
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.models.pretrained import check_used, fill, read_weights


class Net(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.body, self.norm, self.fc = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, classes)


def state(classes: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(classes)
    return Net(classes).state_dict()


def refused(weights: str | None, arch: str | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        read_weights(weights, arch)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_file_of_tensors_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    save_file(state(), path) if suffix == ".safetensors" else torch.save(state(), path)
    read = read_weights(str(path), None)
    assert read.keys() == state().keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in state().items())


class Strike:
    """What a pickle can do to those who read it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("plain", [False, True], ids=["torch.save", "pickle.dump"])
def test_a_pickle_with_code_is_refused_with_the_reason_and_not_run(
    tmp_path: Path, plain: bool
) -> None:
    path, mark = tmp_path / "net.pth", tmp_path / "struck"
    if plain:
        path.write_bytes(pickle.dumps(Strike(mark), protocol=2))
    else:
        torch.save(state() | {"more": Strike(mark)}, path)
    line = refused(str(path))
    assert line.startswith(f"model.weights={path}: refused: it calls for {os.mkdir.__module__}.mk")
    assert "a pickle may run code" in line and ".safetensors" in line
    assert not mark.exists()
    if plain:  # so that the test could fail
        pickle.loads(path.read_bytes())
        assert mark.exists()


def test_a_pickle_of_another_protocol_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(pickle.dumps(Strike(tmp_path / "struck"), protocol=4))
    assert "refused: it " in refused(str(path))
    assert not (tmp_path / "struck").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_broken_or_missing_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    assert refused(str(path)) == f"model.weights={path}: there is no such file"
    path.write_bytes(b"nothing of the kind")
    assert refused(str(path)).startswith(f"model.weights={path}: ")


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(state(), path)
    path.write_bytes(path.read_bytes()[:-100])
    assert f"model.weights={path}: cannot be read" in refused(str(path))


def test_a_file_must_hold_a_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"epoch": 3, "model": state()}, path)
    assert "must hold a state dict" in refused(str(path))


def test_another_suffix_is_told_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    path.touch()
    assert refused(str(path)).endswith("must end in .safetensors, .pth, .pt")


def test_no_weights_are_told_what_to_say() -> None:
    assert refused(None).startswith("model.weights=null: base=from_model begins with")


def test_a_file_that_would_stay_unread_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.weights=x.pth: would not be loaded; say base="):
        check_used("x.pth", load_weights=False)
    for weights, load in (("x.pth", True), (None, False), ("IMAGENET1K_V1", False)):
        check_used(weights, load)


@pytest.mark.parametrize(
    ("weights", "arch", "line"),
    [
        ("IMAGENET1K_V9", "resnet18", "resnet18 has no such weights; did you mean 'IMAGENET1K_V1'"),
        ("IMAGENET1K_V1", None, "torchvision publishes none for this model; name a file"),
        ("ResNet18_Weights.NONE", None, "torchvision has no such weights"),
        ("Nothing.IMAGENET1K_V1", None, "torchvision has no such weights"),
    ],
)
def test_a_name_that_torchvision_does_not_know_is_refused(
    weights: str, arch: str | None, line: str
) -> None:
    assert line in refused(weights, arch)


@pytest.mark.parametrize("weights", ["IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"])
def test_published_weights_are_fetched_checked_and_without_pickled_code(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def fetch(url: str, **options: Any) -> dict[str, Tensor]:
        asked.update(options, url=url)
        return state()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    assert read_weights(weights, "resnet18").keys() == state().keys()
    assert "resnet18" in asked["url"]
    assert asked["weights_only"] is asked["check_hash"] is True


def test_weights_that_cannot_be_fetched_say_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, **options: Any) -> dict[str, Tensor]:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    line = refused("IMAGENET1K_V1", "resnet18")
    assert "cannot be had from https://" in line and "no network" in line
    assert line.endswith("name a file instead: model.weights=FILE.pth")


def filled(given: dict[str, Tensor], rule: str = "kept") -> Net:
    torch.manual_seed(9)
    net = Net()
    fill(net, given, weights="x.pth", head="fc", rule=rule)
    return net


@pytest.mark.parametrize("rule", ["kept", "frozen"])
def test_a_head_that_is_kept_comes_with_the_rest(rule: str) -> None:
    given = state()
    assert all(torch.equal(t, given[name]) for name, t in filled(given, rule).state_dict().items())


@pytest.mark.parametrize("classes", [3, 7])
def test_a_fresh_head_stays_as_it_was_drawn(classes: int) -> None:
    torch.manual_seed(9)
    drawn, given = Net(), state(classes)
    net = filled(given, "fresh")
    assert torch.equal(net.fc.weight, drawn.fc.weight)
    assert torch.equal(net.body.weight, given["body.weight"])


@pytest.mark.parametrize("rule", ["kept", "frozen"])
def test_a_kept_head_of_other_classes_is_told_to_be_fresh(rule: str) -> None:
    with pytest.raises(ConfigError) as error:
        filled(state(7), rule)
    assert str(error.value) == (
        "model.weights=x.pth: 'fc.weight' is (7, 4), in this model (3, 4); "
        f"base.head={rule} would keep it, say base.head=fresh"
    )


def test_weights_of_another_network_are_refused_before_anything_is_filled() -> None:
    given = state()
    wrong = {
        "has no 'body.weight'": {n: t for n, t in given.items() if n != "body.weight"},
        "'more' has no place in this model": given | {"more": torch.zeros(1)},
        r"'body.weight' is \(4, 5\), in this model \(4, 4\)$": given
        | {"body.weight": torch.zeros(4, 5)},
    }
    for line, each in wrong.items():
        with pytest.raises(ConfigError, match=line):
            filled(each)


def test_old_files_may_lack_the_count_of_batches() -> None:
    given = {n: t for n, t in state().items() if not n.endswith("num_batches_tracked")}
    assert torch.equal(filled(given).state_dict()["norm.running_var"], given["norm.running_var"])
