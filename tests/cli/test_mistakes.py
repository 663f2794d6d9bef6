"""A user's mistake is one line, exit code 2, and nothing written."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from command_server import Outcome

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def complaint(outcome: Outcome, here: Path) -> str:
    """The one line, after the checks that hold for every mistake."""
    assert outcome.code == 2, outcome
    (line,) = outcome.err.splitlines()
    assert line.startswith("lowrank-bench: ")
    assert "Traceback" not in outcome.out
    assert all(said.startswith("W&B: ") for said in outcome.out.splitlines())
    assert list(here.iterdir()) == []
    return line


# What the line must say, beside naming the key.
BEFORE_TORCH = {
    "method=lorra": ("method=lorra", "did you mean 'lora'", "lowrank"),
    "method/optimizer=adam": ("method/optimizer=adam", "did you mean 'adamw'"),
    "data=digit": ("data=digit", "did you mean 'digits'"),
    "rnak=4": ("rnak:", "did you mean 'rank'"),
    "+rnak=4": ("rnak:", "there is no such key"),
    "run.thread=4": ("run.thread:", "did you mean 'run.threads'"),
    "method.adapter.rnak=4": ("method.adapter.rnak:", "did you mean 'method.adapter.rank'"),
    "rank=0": ("rank=0:", "positive whole number"),
    "rank=-1": ("rank=-1:", "positive whole number"),
    "rank=four": ("rank=four:", "positive whole number"),
    "rank=4.5": ("rank=4.5:", "positive whole number"),
    "rank=[1,2]": ("rank=[1, 2]:", "-m rank=1,2"),
    "rank=1,2": ("rank=1,2:", "-m rank=1,2"),
    "rank": ("rank",),
    "rank=(4": ("rank=(4",),
    "~rank": ("rank",),
    "~method": ("method",),
    "lr=0": ("lr=0:", "positive number"),
    "lr=-1": ("lr=-1:", "positive number"),
    "lr=abc": ("lr=abc:", "positive number"),
    "lr=nan": ("lr=nan:", "positive number"),
    "seed=-1": ("seed=-1:", "0 or more"),
    "epochs=0": ("epochs=0:", "positive whole number"),
    "precision=17": ("precision=17:", "32-true"),
    "budget.selection=best": ("budget.selection=best:", "best_val_accuracy"),
    "data=null": ("data",),
    "run.dir=": ("run.dir",),
    "run.dir=/dev/null/x": ("run.dir=/dev/null/x:", "is a file"),
    "--config-dir=/nowhere": ("/nowhere", "not found"),
    "rank=4 --config-dir . method=lorra": ("method=lorra", "did you mean 'lora'"),
    "rank=4 -m method=lora,lorra": ("method=lorra", "did you mean 'lora'"),
    "method=full method.adapter.rank=4": ("method.adapter.rank:", "did you mean 'method.opt"),
    "-m rank=4,0": ("rank=0:", "positive whole number"),
    "-m method=lora,lorra": ("method=lorra", "did you mean 'lora'"),
    "experiment=quick rank=0": ("rank=0:",),
    "method/transform=null": ("method/transform=null", "'~method/transform'"),
    "sweep=null": ("sweep=null", "'~sweep'"),
}


@pytest.mark.parametrize("command", BEFORE_TORCH)
def test_a_mistake_is_one_line_that_says_what_would_be_right(composing, here, command):
    line = complaint(composing(*command.split()), here)
    assert not [part for part in BEFORE_TORCH[command] if part not in line], line


BEFORE_TRAINING = {
    "method.adapter=lora": ("method.adapter=lora:", "method/adapter=lora"),
    "method.adapter.alpha=abc": ("method.adapter.alpha=abc:", "positive number"),
    "method.adapter._target_=null": ("method.adapter._target_=None:",),
    "+method.adapter.foo=1": ("method.adapter.foo:", "alpha"),
    "method.targets=[nothing*]": ("method.targets:", "'nothing*'", "hidden.0"),
    "method.targets=nothing": ("method.targets='nothing':", "[nothing]"),
    "method.trainable=[nothing*]": ("method.trainable:", "'nothing*'"),
    "method=full method/init=zero_b": ("method.init=zero_b:", "dense"),
    "method=lora method/init=rank_uniform": ("method.init=rank_uniform:", "adapter"),
    "method.optimizer.lr=-1": ("method.optimizer",),
    "method.optimizer.betas=[2,3]": ("method.optimizer",),
    "method/schedule=cosine method.schedule.warmup=-1": ("warmup=-1",),
    "method.schedule=null": ("method.schedule",),
    "method=pissa rank=16": ("rank=16", "(10, 512)", "method.targets"),
    "method=vera method/init=zero_b": ("method.init=zero_b:", "vera"),
    "method=cola method.adapter.activation=silo": ("activation=silo", "did you mean 'silu'"),
    "method=sltrain method.adapter.density=2": ("density",),
    "method=flora data.adapters=4": ("data.adapters=4", "num_adapters=4"),
    "method=subspace method.adapter.projection=hash": ("projection=hash", "fastfood"),
    "method=adalora method.adapter.rank_factor=1": ("target_rank", "rank"),
    "method=adalora method.hooks.rank_budget.start=-1": ("rank_budget.start=-1",),
    "method=adalora method/hooks=restarts": ("restarts", "SVDLinear"),
    "method=relora method.hooks.restarts.cycle_length=-1": ("cycle_length=-1",),
    "method=galore method.transform.side=up": ("side=up", "reverse_std"),
    "method=galore method/optimizer=lora_plus": ("method.optimizer.roles", "'lora_B'"),
    "method=galore method/optimizer=adam8bit": ("moments=rotate", "keep or reset"),
    "method=full method/transform=lora_pro": ("lora_pro",),
    "method=lora_fa method.trainable=[*.A,*.B]": ("lora_fa", "A"),
    "method=lora_fa method/optimizer=lora_plus": ("lora_A",),
    "method=lora_pro method/optimizer=adamw": ("lora_pro", "AdamW"),
    "method=lora_plus method.optimizer.ratio=0.5": ("ratio=0.5",),
    "method=peft method.adapter.config._target_=peft.LoHaConfg": ("peft.LoHaConfig",),
    "method=peft +method.adapter.config.alhpa=1": ("alhpa",),
    "method=bitfit method.trainable=[*biass]": ("'*biass'",),
    "model.num_classes=3": ("num_classes=3",),
    "data.val_size=5000": ("data.val_size=5000:", "1796"),
    "budget.selection=best_val_accuracy data.val_size=0": ("budget.selection", "data.val_size"),
    "data=kmnist": ("data=kmnist:", IDX_FILES[0], "data.root="),
    "data=mnist data.root=/nowhere": ("data.root=/nowhere:", "no such folder"),
    "logger=wandb logger.mode=loud": ("logger.mode=loud:",),
    "-m method=lora,full method/init=zero_b": ("method.init=zero_b:",),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", BEFORE_TRAINING)
def test_a_mistake_that_only_building_shows_is_one_line_too(bench, here, command):
    line = complaint(bench(*command.split()), here)
    assert not [part for part in BEFORE_TRAINING[command] if part not in line], line


@pytest.mark.slow
def test_a_device_that_is_not_there_is_a_mistake(bench, here, env):
    env["CUDA_VISIBLE_DEVICES"] = ""
    assert "run.accelerator=cuda" in complaint(bench("run.accelerator=cuda"), here)


@pytest.mark.slow
def test_a_failed_download_leaves_no_file(bench, here, env):
    complaint(bench("data=kmnist"), here)
    cache = Path(env["XDG_CACHE_HOME"])
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_a_corrupt_data_file_is_named(bench, here, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    for name in IDX_FILES:
        (root / name).write_bytes(b"\0\0\10\3 no more than this")
    line = complaint(bench("data=mnist", f"data.root={root}"), here)
    assert str(root / IDX_FILES[0]) in line
    assert "replace it" in line


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_a_file_is_no_folder_for_runs(composing, here, tmp_path, below):
    (tmp_path / "file").write_text("precious")
    line = complaint(composing(f"run.dir={tmp_path}/file{below}"), here)
    assert f"run.dir={tmp_path}/file{below}: {tmp_path}/file is a file" in line
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/1").is_dir(), reason="no /proc here")
@pytest.mark.parametrize("folder", ["/proc/runs", "/proc/1/runs", "/sys/runs"])
def test_a_folder_that_cannot_be_written_is_named(bench, here, folder):
    line = complaint(bench(f"run.dir={folder}"), here)
    assert f"run.dir={folder}: " in line
    assert "cannot be written" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind root")
def test_a_read_only_folder_is_named(composing, here, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert f"{folder} cannot be written" in complaint(composing(f"run.dir={folder}/runs"), here)


@pytest.mark.parametrize("option", ["--config-dir={}", "--config-dir {}", "-cd {}"])
def test_a_user_yaml_that_hydra_would_ignore_is_named(composing, here, tmp_path, option):
    mine = tmp_path / "mine"
    (mine / "method").mkdir(parents=True)
    (mine / "method" / "lora.yaml").write_text("name: mine\n")
    line = complaint(composing(*option.format(mine).split()), here)
    assert "method/lora.yaml" in line
    assert "another name" in line


def test_an_unknown_option_is_a_mistake(composing, here):
    outcome = composing("--foo")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].endswith("unrecognized arguments: --foo")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("installed", [True, False], ids=["console script", "python -m"])
def test_both_entry_points_return_the_exit_code(fresh, here, installed):
    script = shutil.which("lowrank-bench", path=str(Path(sys.executable).parent))
    assert script is not None
    program = (script,) if installed else ("-m", "lowrank_bench")
    assert "rank=0" in complaint(fresh("rank=0", program=program), here)
