from lowrank_bench.protocol import wording


def test_accuracies_are_in_points_and_losses_in_nats() -> None:
    assert wording.number(0.9125, "accuracy") == "91.25 %"
    assert wording.number(0.25121, "loss") == "0.2512 nats"
    assert wording.amount(-0.0025, "accuracy") == "0.25 points"
    assert wording.signed(0.0125, "loss") == "+0.0125 nats"
    assert wording.signed(-0.0025, "accuracy") == "-0.25 points"


def test_what_rounds_to_zero_has_no_sign() -> None:
    assert wording.bare(-0.00001, "accuracy") == wording.bare(0.00001, "accuracy") == "0.00"


def test_counts_agree_with_their_nouns() -> None:
    words = [wording.plural(n, "seed") for n in (0, 1, 3)]
    assert words == ["0 seeds", "one seed", "3 seeds"]


def test_long_lists_are_cut() -> None:
    assert wording.listed([]) == ""
    assert wording.listed(["a"]) == "a"
    assert wording.listed(["a", "b", "c"]) == "a, b and c"
    assert wording.listed(list("abcdefgh"), most=4) == "a, b, c and 5 more"
