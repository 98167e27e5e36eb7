import pytest
from hypothesis import given, strategies as st

from toolkit.core.request import Request
from toolkit.engines.vllm.batching import batches, features


def asked(text="Hi", **options):
    return Request.chat(text, **options).resolve({})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, set()),
        ({"temperature": 0.5, "seed": 1, "top_k": 5, "min_p": 0.1, "top_logprobs": 5}, set()),
        ({"top_p": 0.9}, {"top_p"}),
        ({"temperature": 0, "top_p": 0.9}, set()),
        ({"presence_penalty": 0.1}, {"penalties"}),
        ({"frequency_penalty": -1, "top_p": 0.5}, {"penalties", "top_p"}),
        ({"repetition_penalty": 1.1}, {"penalties"}),
    ],
)
def test_features_are_those_that_cost_the_whole_batch(options, expected):
    assert features(asked(**options).sampling) == expected


def test_a_mixed_grid_runs_in_four_groups():
    requests = [
        asked(top_p=p, frequency_penalty=f, seed=s) for p in (1, 0.9) for f in (0, 0.5) for s in range(40)
    ]
    groups = batches(requests)
    assert [len(g) for g in groups] == [40] * 4
    assert [features(g[0].sampling) for g in groups] == [
        set(),
        {"penalties"},
        {"penalties", "top_p"},
        {"top_p"},
    ]


def test_a_small_group_joins_one_that_pays_for_its_features():
    few = [asked(seed=i) for i in range(5)]
    many = [asked(top_p=0.9, seed=i) for i in range(40)]
    (group,) = batches(few + many)
    assert len(group) == 45
    costly = [asked(top_p=0.9, seed=i) for i in range(5)]
    assert [len(g) for g in batches(costly + [asked(seed=i) for i in range(40)])] == [40, 5]


def test_equal_prompts_are_neighbours_and_keep_their_order():
    (group,) = batches([asked("b", seed=0), asked("a", seed=0), asked("b", seed=1), asked("a", seed=1)])
    assert [(r.messages[0]["content"], r.sampling.seed) for r in group] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("b", 1),
    ]


@given(
    st.lists(
        st.builds(
            asked,
            st.sampled_from("abc"),
            top_p=st.sampled_from([0.5, 1.0]),
            presence_penalty=st.sampled_from([0, 1]),
        )
    )
)
def test_every_request_is_in_exactly_one_group(requests):
    grouped = [r for group in batches(requests) for r in group]
    assert sorted(map(id, grouped)) == sorted(map(id, requests))
