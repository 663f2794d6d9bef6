"""One export: rebuild, write, read back, compare, and only then give it its name."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.export.dense import write_delta, write_merged
from lowrank_bench.export.folder import check_free, size, whole
from lowrank_bench.export.peft_folder import check_expressible, write_peft
from lowrank_bench.export.plain import bare, save_plain
from lowrank_bench.export.rebuilt import Rebuilt, rebuilt

KINDS = ("peft", "merged", "dense-delta")
BASE = "base"  # the folder of base weights that nobody else has
SAME = 1e-4  # of the largest output; single precision's own error is far below


@dataclass(frozen=True)
class Exported:
    """What was written."""

    out: Path
    what: str
    num_bytes: int
    drift: float  # largest difference of an output, as a part of the largest output


def export(run: Path, to: str, out: Path) -> Exported:
    """Write what the run in the folder `run` trained to the new folder `out`.

    `to` is peft (an adapter for PeftModel.from_pretrained), merged (a plain network) or
    dense-delta (W - W0 of each tensor that changed). What was written is read back, put on the
    base, and must compute what the run's model does on a few of its training examples. A base
    that lies nowhere else goes along with an adapter or a difference, in the folder `base`.

    Raises: ConfigError, one line, and leaves nothing, where `out` exists, the run cannot be
    rebuilt, the method cannot be expressed, or what was read back computes something else.
    """
    if to not in KINDS:
        raise ConfigError(f"--to {to}: must be one of {', '.join(KINDS)}")
    check_free(out)
    found = rebuilt(run)
    if to == "peft":
        check_expressible(found)
    expected = found.outputs(found.model)
    with whole(out) as folder:
        model, what = _write(found, to, folder, out)
        drift = _drift(expected, found.outputs(model))
        bound = SAME if next(found.model.parameters()).dtype.itemsize >= 4 else 5e-2
        if not drift <= bound:
            raise ConfigError(
                f"--to {to}: what was written computes something else than the run's model "
                f"(outputs differ by {drift:.2g} of the largest), so nothing was kept"
            )
        num_bytes = size(folder)
    return Exported(out, what, num_bytes, drift)


def _write(run: Rebuilt, to: str, folder: Path, out: Path) -> tuple[nn.Module, str]:
    if to == "merged":
        return write_merged(run, folder)
    base = _base(run, folder, out)
    model, what = write_delta(run, folder) if to == "dense-delta" else write_peft(run, folder, base)
    return model, f"{what}; base: {base}"


def _base(run: Rebuilt, folder: Path, out: Path) -> str:
    """Where the base lies; in the export itself where it is nowhere else."""
    model = run.published()
    known = getattr(bare(model), "name_or_path", None)
    if known and run.base_is_elsewhere:
        return str(known)
    (folder / BASE).mkdir()
    save_plain(model, run.cfg, folder / BASE, fingerprint=run.record.base.get("fingerprint"))
    return str(out.resolve() / BASE)


def _drift(expected: Tensor, found: Tensor) -> float:
    return float((found - expected).abs().max()) / (float(expected.abs().max()) or 1.0)
