from pathlib import Path

import pytest
from markupsafe import Markup
from shown_study import studies
from synthetic_records import Write

from lowrank_bench.report.filtering import Choices, families, labels_of
from lowrank_bench.report.label import with_labels
from lowrank_bench.report.load import Loaded, gather, nothing
from lowrank_bench.report.page import render
from lowrank_bench.report.section import Section, sections

NONE = Choices(controls=[], family={}, ranks=[])


def read(root: Path) -> tuple[Loaded, list[Section]]:
    loaded = with_labels(gather([root]))
    return loaded, sections(loaded)


def test_a_choice_covers_all_that_a_study_tried_of_an_arm() -> None:
    arms = ["lora", "lowrank", "lowrank (init=product_variance)"]
    tried = [
        *("lora (optimizer.ratio=4)", "lora (optimizer.ratio=16)", "lora #3d4f48"),
        *("lowrank (init=product_variance, optimizer.ratio=4)", "lowrank (optimizer.ratio=4)"),
    ]
    found = families(tried, arms)
    assert [found[label] for label in tried] == [
        *("lora", "lora", "lora"),
        *("lowrank (init=product_variance)", "lowrank"),
    ]


def test_without_a_study_every_label_is_a_choice_less_its_hash() -> None:
    labels = ["full", "full (init=a)", "full #abcdef", "full #not-a-hash"]
    assert families(labels, []) == {
        "full": "full",
        "full (init=a)": "full (init=a)",
        "full #abcdef": "full",
        "full #not-a-hash": "full #not-a-hash",
    }


def test_choices_are_those_of_runs_and_of_studies(write_run: Write, tmp_path: Path) -> None:
    for rank in (8, None, 2):
        write_run(method="galore", rank=rank)
    choices = Choices.of(read(tmp_path / "runs")[1], studies())
    assert choices.methods == ["dora", "full", "galore", "lora", "pissa"]
    assert choices.ranks == [None, 2, 4, 8, 16]
    assert [hash for hash, _ in choices.controls] == ["c0ffee"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"method": "lora", "rank": 8}, ' data-method="lora" data-rank="8"'),
        ({"method": "full", "rank": None}, ' data-method="full" data-rank=""'),
        ({"method": '"><b>'}, ' data-method="&#34;&gt;&lt;b&gt;"'),
        ({"gain": 1.0}, ""),
    ],
)
def test_a_row_says_of_what_it_is(row: dict[str, object], expected: str) -> None:
    assert NONE.attributes(row) == Markup(expected)


def test_an_entry_of_a_legend_is_a_method_a_configuration_or_a_rank() -> None:
    choices = Choices(controls=[], family={"lora": "lora"}, ranks=[None, 8])
    labels = {"lora r8": ("lora", 8)}
    assert choices.of_key("lora", labels) == ' data-method="lora"'
    assert choices.of_key("lora r8", labels) == ' data-method="lora" data-rank="8"'
    assert choices.of_key("r8", labels) == ' data-rank="8"'
    assert choices.of_key("r9", labels) == choices.of_key("better", labels) == ""


def test_the_arms_of_a_study_are_known_by_their_names(write_run: Write, tmp_path: Path) -> None:
    write_run(method="lora", rank=8)
    (part,) = studies()
    part.figures[0].datasets["gains"].append({"arm": "pissa r16", "method": "pissa", "rank": 16})
    labels = labels_of(read(tmp_path / "runs")[1], [part])
    assert labels["s1"] == {"lora r8": ("lora", 8)}
    assert labels["study"] == {"lora r8": ("lora", 8), "pissa r16": ("pissa", 16)}


def test_a_page_of_one_configuration_has_no_filters(write_run: Write, tmp_path: Path) -> None:
    write_run()
    loaded, found = read(tmp_path / "runs")
    page = render(loaded, found, {1: []}, title="one")
    assert 'hidden class="absent"' in page
    assert "<select" not in page


def test_a_study_without_its_records_is_a_page_of_its_own() -> None:
    page = render(nothing(), [], {}, title="a study", studies=[*studies(), *studies()])
    assert "pissa r16 beats full" in page
    assert 'name="method" value="dora"' in page
    assert "table.csv" not in page


def test_of_a_study_every_figure_table_and_file_is_in_the_page() -> None:
    page = render(nothing(), [], {}, title="a study", studies=studies())
    assert 'data-figure="study-1-gains"' in page
    assert '<td class="num red" data-v="-9.0">−9.0 ± 1</td>' in page
    assert '<td class="num" data-v="">–</td>' in page
    assert '<a href="study-1.md">study-1.md</a>' in page
    assert page.count("<template>") == 1  # the table of what was tried
