"""What an arm tries next: a grid first, then where it tells most, always within the budget."""

from collections.abc import Callable
from math import log10

import pytest

from lowrank_bench.protocol import optuna_search
from lowrank_bench.protocol.search import Scored, Space, best, edge, next_settings, rate

GRID = Space(centre=0.003, per_decade=4, first=7)
Next = Callable[[Space, Scored, int], list]


def peak(at: float) -> Callable[[dict], float]:
    return lambda setting: -abs(log10(setting["lr"] / at))


def searched(space: Space, score: Callable[[dict], float | None], budget: int, next_: Next):
    trials: list = []
    while asked := next_(space, trials, budget):
        trials += [(setting, score(setting)) for setting in asked]
        assert len(trials) <= budget
    return trials


def by_optuna(space: Space, trials: Scored, budget: int) -> list:
    return optuna_search.next_settings(space, trials, budget, name="lora r8")


@pytest.fixture(params=[next_settings, by_optuna], ids=["grid", "optuna"])
def next_(request: pytest.FixtureRequest) -> Next:
    return request.param


def test_the_first_round_is_a_quarter_decade_grid_around_the_centre() -> None:
    rates = [setting["lr"] for setting in next_settings(GRID, [], 9)]
    assert rates == [0.000562, 0.001, 0.00178, 0.00316, 0.00562, 0.01, 0.0178]


def test_centres_snap_to_one_grid_so_that_methods_have_rates_in_common() -> None:
    for centre in (0.0027, 0.00316, 0.0037):
        space = Space(centre=centre, per_decade=2, first=3)
        assert [s["lr"] for s in next_settings(space, [], 3)] == [0.001, 0.00316, 0.01]


@pytest.mark.parametrize("budget", [1, 6, 7, 9, 14])
def test_every_search_spends_the_budget_and_no_more(next_: Next, budget: int) -> None:
    trials = searched(GRID, peak(0.004), budget, next_)
    assert len(trials) == budget
    settings = [tuple(setting.items()) for setting, _ in trials]
    assert len(set(settings)) == budget  # nothing is tried twice


def test_a_search_that_was_stopped_asks_for_the_same_settings_again(next_: Next) -> None:
    knobs = Space(0.003, 4, 5, {"method.optimizer.ratio": [4]})
    whole = searched(knobs, peak(0.01), 9, next_)
    for done in range(5, 9):
        assert next_(knobs, whole[:done], 9) == [whole[done][0]]


def test_an_optimum_on_the_edge_is_followed_beyond_it() -> None:
    trials = searched(GRID, peak(0.056), 9, next_settings)
    assert [setting["lr"] for setting, _ in trials[7:]] == [0.0316, 0.0562]
    assert edge(trials) == "high"  # the budget ended before the optimum was passed
    assert edge(searched(GRID, peak(0.056), 10, next_settings)) is None
    assert edge(searched(GRID, peak(0.0001), 8, next_settings)) == "low"


def test_what_is_left_goes_to_the_methods_own_knobs_at_the_best_rate() -> None:
    knobs = {"method.optimizer.ratio": [4, 64]}
    trials = searched(Space(0.003, 4, 7, knobs), peak(0.003), 9, next_settings)
    assert [setting for setting, _ in trials[7:]] == [
        {"lr": 0.00316, "method.optimizer.ratio": 4},
        {"lr": 0.00316, "method.optimizer.ratio": 64},
    ]


def test_a_knob_that_helps_is_kept_while_rates_are_refined() -> None:
    space = Space(0.003, 2, 5, {"k": [4]})
    trials = searched(space, lambda s: peak(0.004)(s) + ("k" in s), 8, next_settings)
    assert all(setting["k"] == 4 for setting, _ in trials[5:])


def test_without_edge_or_knobs_rates_between_the_best_and_its_better_neighbour_come_next() -> None:
    space = Space(0.00316, 2, 5)
    trials = searched(space, peak(0.005), 7, next_settings)
    assert [setting["lr"] for setting, _ in trials[5:]] == [0.00562, 0.00422]


def test_when_everything_diverged_lower_rates_are_tried() -> None:
    trials = searched(GRID, lambda _: None, 9, next_settings)
    assert min(setting["lr"] for setting, _ in trials) < 0.000562
    assert best(trials) is None
    assert edge(trials) is None


def test_of_equal_scores_the_lowest_rate_is_best() -> None:
    trials = [({"lr": 0.01}, 0.5), ({"lr": 0.001}, 0.5), ({"lr": 0.1}, None)]
    assert best(trials) == 1


def test_rates_have_three_digits() -> None:
    assert [rate(k, 4) for k in (-12, -11, -10, -9, -8)] == [0.001, 0.00178, 0.00316, 0.00562, 0.01]


def test_optuna_stays_within_the_grids_reach_and_leaves_the_recipes_own_knob_out() -> None:
    space = Space(0.003, 4, 7, {"method.optimizer.ratio": [4]})
    trials = searched(space, peak(0.003), 30, by_optuna)
    assert all(0.003 / 6 < setting["lr"] < 0.003 * 6 for setting, _ in trials)
    assert {setting.get("method.optimizer.ratio") for setting, _ in trials} == {None, 4}


def test_optunas_own_tools_read_the_journal(tmp_path) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    trials = [*searched(GRID, peak(0.004), 8, by_optuna), ({"lr": 0.0011}, None)]
    for _ in range(2):  # written anew each time
        optuna_search.write_journal(tmp_path, {"lora r8": (GRID, trials)})
    storage = JournalStorage(JournalFileBackend(str(tmp_path / optuna_search.JOURNAL)))
    study = optuna.load_study(study_name="lora r8", storage=storage)
    assert len(study.trials) == 9
    assert study.best_value == max(score for _, score in trials if score is not None)
