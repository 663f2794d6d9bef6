from .asides import asides
from .claims import FORMULA, PRINTED
from .measured import recorded
from .page import FILE, ONLY, page, verdict
from .rows import FAILS, rows
from .sources import claims

# test_published_numbers.py has, row by row, that what is recorded is what the planner finds.


def test_the_page_is_current() -> None:
    written = FILE.read_text(encoding="utf-8")
    assert written == page(rows(), claims(), recorded()), "make published-costs"


def test_every_row_stands_on_the_page_once() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("| ") and not line.startswith("| ---")]
    headers = [line for line in table if line.startswith("| what |")]
    assert len(table) - len(headers) == len(rows())


def test_verdicts_tell_bytes_from_conventions() -> None:
    told = {name: verdict(row, claims()[name], recorded()[name]) for name, row in rows().items()}
    assert told["galore.t6.lora.weights.1B"] == ONLY  # embeddings twice, and a G of its own
    assert told["galore.t6.full.weights.1B"] == ONLY  # 2.68 GB, which cut off at 2.60 it is not
    assert told["sltrain.fig1.1b.full"] == "within 0.03"  # exact, in GB
    assert told["lora.t15.gpt3.rq=rv=4"] == "holds, cut off"
    failing = {name for name, said in told.items() if said == "**does not hold**"}
    assert failing == {name for name, row in rows().items() if row.status == FAILS}


def test_formulas_and_sums_are_labelled() -> None:
    formulas = {name for name, claim in claims().items() if claim.kind == FORMULA}
    assert {"lora.t15.gpt3.adapterH.r16", "formula.opt_states.flora"} <= formulas
    sums = {name for name, claim in claims().items() if claim.kind == PRINTED}
    assert {name.split(".")[0] for name in sums} == {"fira", "apollo", "lora"}
    assert not (formulas | sums) & set(asides())
