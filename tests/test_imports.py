import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lowrank_bench"
PLUGINS = PACKAGE.parent / "hydra_plugins"

# A module imports from its own floor and those below.
FLOORS = (
    "__init__ errors names record receipt seeds config_dir environment head presets spectra "
    "similarity package_path precision linalg_flops predictions",
    "layers inits optim schedules penalties spans roles base identity build footprint protocol",
    "peft_bridge method events start switch",
    "task evaluation callbacks hooks data models loggers objectives retention",
    "run prepare weights selection store checks ending isolate",
    "cli __main__ session job rehearsal tally mistakes report compose methods_cli catalogue door "
    "testing export plan study dashboard",
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}

# The report reads records only.
BELOW_THE_REPORT = {"__init__", "errors", "names", "record", "predictions", "protocol", "report"}
HEAVY = {"torch", "lightning", "pytorch_lightning", "torchvision", "wandb"}


def files() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def part_of(file: str) -> str:
    """The module or subpackage that stands on a floor."""
    return Path(file).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names that the file imports anywhere, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def parts_used(path: Path) -> set[str]:
    """Which parts of this package the file imports; a name of the package itself is `__init__`."""
    used = set()
    for name in imported(path):
        package, _, rest = name.partition(".")
        if package == PACKAGE.name:
            part = rest.split(".")[0]
            used.add(part if part in FLOOR_OF else "__init__")
    return used


def test_every_module_stands_on_a_floor() -> None:
    assert {part_of(file) for file in files()} == set(FLOOR_OF)


@pytest.mark.parametrize("file", files())
def test_imports_run_down(file: str) -> None:
    floor = FLOOR_OF[part_of(file)]
    up = {part for part in parts_used(PACKAGE / file) if FLOOR_OF[part] > floor}
    assert not up, f"{file} on floor {floor} imports from above"


def test_the_check_sees_imports() -> None:
    assert {"task", "checks", "loggers", "prepare"} <= parts_used(PACKAGE / "run.py")
    assert parts_used(PACKAGE / "environment.py") == {"__init__"}
    assert "rehearsal" in parts_used(PACKAGE / "session.py")  # inside functions


def test_the_report_reads_records_only() -> None:
    folder = PACKAGE / "report"
    for path in folder.rglob("*.py"):
        # what its command fetches from W&B lies on the disk as records before it reads them
        fetched = {"dashboard"} if path == folder / "cli.py" else set()
        assert parts_used(path) <= BELOW_THE_REPORT | fetched, path
        assert not {name.split(".")[0] for name in imported(path)} & HEAVY, path


def test_the_record_needs_the_standard_library_alone() -> None:
    names = {name.split(".")[0] for name in imported(PACKAGE / "record.py")}
    assert names <= set(sys.stdlib_module_names)


def loaded_by(module: str) -> set[str]:
    code = f"import {module}, sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["lowrank_bench.cli", "hydra_plugins.lowrank_bench_sweeper"])
def test_the_command_line_answers_before_anything_heavy_is_loaded(module: str) -> None:
    loaded = loaded_by(module)
    assert "hydra" in loaded
    assert not loaded & (HEAVY | {"polars", "sklearn", "altair"})


def test_the_report_never_loads_torch() -> None:
    loaded = loaded_by("lowrank_bench.report.cli")
    assert "polars" in loaded
    assert not loaded & HEAVY


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "core", "common", "misc"}
    python = [*PACKAGE.rglob("*.py"), *PLUGINS.rglob("*.py")]
    stems = {path.stem for path in python} | {path.parent.name for path in python}
    assert not stems & drawers


def test_the_parent_of_a_sweep_imports_what_its_runs_need_before_it_forks_them() -> None:
    loaded = "import sys, lowrank_bench.rehearsal; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout
    assert {"lowrank_bench.run", "lightning", "lowrank_bench.task"} <= set(modules.split())
