from itertools import product

from lowrank_bench.seeds import derive


def test_a_derived_seed_is_the_same_for_ever() -> None:
    assert derive(0, "order", 0) == 3955691223199900983
    assert derive(7, "init", "hidden.0") == 1434465261962082310


def test_seeds_purposes_and_their_numbers_all_have_streams_of_their_own() -> None:
    seeds = [derive(*parts) for parts in product(range(20), ("order", "epoch", "init"), range(20))]
    seeds += [derive(seed) for seed in range(20)]
    assert len(set(seeds)) == len(seeds)


def test_a_derived_seed_is_one_that_torch_takes() -> None:
    assert all(0 <= derive(seed, "order") < 2**63 for seed in range(200))
    assert max(derive(seed, "order") for seed in range(200)) > 2**61  # no bits are wasted
