import numpy as np
import torch

from lowrank_bench.data.tokens import LabelledPart, ResponsePart, TokenPart, windows_of

STREAM = np.arange(100, 121).astype(np.uint16)  # 21 tokens


def indices(*numbers):
    return torch.tensor(numbers)


def test_y_is_what_follows_each_token_of_x():
    part = TokenPart(windows_of(STREAM, 4))
    assert len(part) == 5
    x, y = part.fetch(slice(0, 2))
    assert x.dtype == y.dtype == torch.int64
    assert x.tolist() == [[100, 101, 102, 103], [104, 105, 106, 107]]
    assert y.tolist() == [[101, 102, 103, 104], [105, 106, 107, 108]]


def test_each_token_but_the_first_is_predicted_exactly_once():
    part = TokenPart(windows_of(STREAM, 5))
    _, y = part.fetch(slice(None))
    assert y.flatten().tolist() == list(range(101, 121))


def test_what_is_less_than_a_window_is_not_used():
    assert len(TokenPart(windows_of(STREAM, 19))) == 1
    assert len(TokenPart(windows_of(STREAM, 20))) == 1
    assert len(TokenPart(windows_of(STREAM, 11))) == 1
    assert len(TokenPart(windows_of(STREAM, 10))) == 2


def test_a_tensor_of_indices_fetches_what_slices_do():
    part = TokenPart(windows_of(STREAM, 4))
    whole_x, whole_y = part.fetch(slice(None))
    x, y = part.fetch(indices(3, 0, 3))
    assert torch.equal(x, whole_x[[3, 0, 3]])
    assert torch.equal(y, whole_y[[3, 0, 3]])


def test_what_is_fetched_shares_no_memory_with_the_file_or_with_y():
    part = TokenPart(windows_of(STREAM, 4))
    x, y = part.fetch(slice(0, 1))
    x.fill_(0)
    assert y.tolist() == [[101, 102, 103, 104]]
    assert part.fetch(slice(0, 1))[0].tolist() == [[100, 101, 102, 103]]


def test_targets_are_counted():
    part = TokenPart(windows_of(STREAM, 4))
    assert part.count(slice(None)) == 20
    assert part.count(slice(3, 9)) == 8
    assert part.count(indices(1, 4, 2)) == 12


def test_example_i_belongs_to_adapter_i_mod_k():
    part = TokenPart(windows_of(STREAM, 4), adapters=2)
    found = part.fetch_ids(slice(1, 5))
    assert found is not None and found.tolist() == [1, 0, 1, 0]
    found = part.fetch_ids(indices(4, 3))
    assert found is not None and found.tolist() == [0, 1]
    assert TokenPart(windows_of(STREAM, 4)).fetch_ids(slice(1, 5)) is None


def responses(length, *examples):
    """Examples (prompt tokens, all tokens), one after the other."""
    tokens = np.concatenate([whole for _, whole in examples]).astype(np.uint16)
    sizes = np.array([len(whole) for _, whole in examples])
    return ResponsePart(
        stream=tokens,
        starts=np.cumsum(sizes) - sizes,
        prompts=np.array([len(prompt) for prompt, _ in examples]),
        lengths=np.minimum(sizes, length + 1),
        length=length,
    )


def test_the_last_token_of_the_prompt_predicts_the_first_of_the_response():
    part = responses(6, ([1, 2, 3], [1, 2, 3, 7, 8, 9]))
    x, y = part.fetch(slice(None))
    assert x.tolist() == [[1, 2, 3, 7, 8, -1]]
    assert y.tolist() == [[-100, -100, 7, 8, 9, -100]]
    assert part.count(slice(None)) == 3


def test_a_long_example_is_cut_from_the_right():
    part = responses(4, ([1, 2], [1, 2, 5, 6, 7, 8]), ([1], [1, 9]))
    x, y = part.fetch(indices(1, 0))
    assert x.tolist() == [[1, -1, -1, -1], [1, 2, 5, 6]]
    assert y.tolist() == [[9, -100, -100, -100], [-100, 5, 6, 7]]
    assert part.count(indices(0)) == 3
    assert part.count(slice(None)) == 4


def test_without_a_prompt_all_but_the_first_token_is_predicted():
    part = responses(4, ([], [5, 6, 7]))
    x, y = part.fetch(slice(None))
    assert x.tolist() == [[5, 6, -1, -1]]
    assert y.tolist() == [[6, 7, -100, -100]]
    assert part.count(slice(None)) == 2


def test_counts_are_those_of_the_targets_fetched():
    part = responses(5, ([1, 2], [1, 2, 3]), ([1], list(range(9))), ([], [1, 2]))
    for index in (slice(None), slice(1, 3), indices(2, 0), indices(1)):
        assert part.count(index) == (part.fetch(index)[1] != -100).sum()


def test_texts_with_labels_are_padded_on_the_right():
    part = LabelledPart(
        stream=np.array([4, 5, 6, 7, 8], np.uint32),
        starts=np.array([0, 2]),
        lengths=np.array([2, 3]),
        labels=np.array([1, 0]),
        length=3,
        adapters=2,
    )
    x, y = part.fetch(slice(None))
    assert x.tolist() == [[4, 5, -1], [6, 7, 8]]
    assert y.tolist() == [1, 0]
    assert part.count(slice(None)) == 2 and part.count(indices(1)) == 1
    found = part.fetch_ids(slice(None))
    assert found is not None and found.tolist() == [0, 1]
