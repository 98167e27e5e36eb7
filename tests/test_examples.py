import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from toolkit.prompts.example_pool import Item, Pool, normalised
from toolkit.prompts.selectors import MMR, SELECTORS, Balanced, First, Random, Similar, ordered, selector

TEXTS = (
    "a dull film",
    "a great film",
    "the soup was cold",
    "great soup",
    "cold and dull soup",
    "film of the year",
)
ANSWERS = ("neg", "pos", "neg", "pos", "neg", "pos")


def pool(texts=TEXTS, answers=None, ids=False):
    answers = answers or tuple(ANSWERS[i % 6] for i in range(len(texts)))
    more = [{"id": i} if ids else {} for i in range(len(texts))]
    rows = tuple({"text": t, "label": a, **m} for t, a, m in zip(texts, answers, more, strict=True))
    return Pool(rows, tuple(texts), tuple(answers))


def letters(texts):
    """An embedding that is easy to check: how often each letter occurs."""
    return np.array([[t.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts], float)


EVERY = [First(), Random(3), Balanced(3), Similar(), Similar(letters), MMR(), MMR(letters)]
WORDS = ["a", "b", "dull", "great", "soup", "film", "日本", ",", "!"]
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)


@pytest.mark.parametrize("chosen", EVERY, ids=str)
@settings(max_examples=60)
@given(
    texts=st.lists(words, min_size=1, max_size=12), at=st.integers(0, 11), k=st.integers(0, 12), noise=words
)
def test_never_the_item_itself_and_the_same_item_the_same_choice(chosen, texts, at, k, noise):
    examples = pool(texts)
    text = texts[at % len(texts)]
    disguised = "  " + text.upper().replace(" ", "  ") + "!"
    first = chosen.select(examples, Item(text), k)
    assert len(first) == len(set(first)) <= k
    wordless = not any(c.isalnum() for c in text)
    for found in (first, *([] if wordless else [chosen.select(examples, Item(disguised), k)])):
        assert all(normalised(examples.texts[i]) != normalised(text) for i in found)
    # Neither other questions in between nor a pool built anew change a choice.
    chosen.select(examples, Item(noise), k)
    assert chosen.select(examples, Item(text), k) == first == chosen.select(pool(texts), Item(text), k)


@pytest.mark.parametrize("chosen", EVERY, ids=str)
def test_all_that_may_be_shown_is_shown_when_k_is_large(chosen):
    assert sorted(chosen.select(pool(), Item("great soup"), 99)) == [0, 1, 2, 4, 5]
    assert sorted(chosen.select(pool(), Item("something else"), 99)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("chosen", EVERY, ids=str)
def test_an_example_with_the_items_id_is_left_out_whatever_its_text(chosen):
    assert 2 not in chosen.select(pool(ids=True), Item("new words", id="2"), 6)


def test_first_takes_the_pool_in_its_order():
    assert First().select(pool(), Item("x"), 3) == [0, 1, 2]
    assert First().select(pool(), Item("A GREAT film."), 3) == [0, 2, 3]


def test_random_is_uniform_over_items_and_differs_by_seed():
    counts = Counter(i for n in range(3000) for i in Random(1).select(pool(), Item(f"item {n}"), 2))
    assert set(counts) == set(range(6))
    assert all(
        abs(c - 1000) < 5 * (3000 * 1 / 3 * 2 / 3) ** 0.5 for c in counts.values()
    )  # 5 σ of a binomial
    assert len({tuple(Random(seed).select(pool(), Item("x"), 3)) for seed in range(20)}) > 10


def test_a_smaller_k_is_the_beginning_of_a_larger_one():
    for chosen in (First(), Random(5), Balanced(5)):
        assert chosen.select(pool(), Item("x"), 2) == chosen.select(pool(), Item("x"), 5)[:2]


@pytest.mark.parametrize("k", range(1, 7))
@pytest.mark.parametrize("text", ["x", "a great film", "cold and dull soup"])
def test_balanced_labels_are_as_even_as_they_can_be(k, text):
    found = Counter(ANSWERS[i] for i in Balanced(1).select(pool(), Item(text), min(k, 4)))
    assert abs(found["pos"] - found["neg"]) <= 1


def test_balanced_takes_what_there_is_of_a_rare_label():
    examples = pool([f"text {i}" for i in range(10)], ("a",) * 9 + ("b",))
    assert Counter(examples.answers[i] for i in Balanced().select(examples, Item("x"), 6)) == {"a": 5, "b": 1}


def test_balanced_by_a_variable():
    examples = Pool(tuple({"topic": t} for t in "xxxxy"), tuple("abcde"), ("same",) * 5)
    assert 4 in Balanced(by="topic").select(examples, Item("q"), 2)
    with pytest.raises(ValueError, match=r"examples\[0\] has no 'label' to balance by"):
        Balanced(by="label").select(examples, Item("q"), 2)


def test_bm25_scores_are_those_of_the_formula():
    """Lucene's variant, computed by hand: idf = ln(1 + (N − n + 0.5)/(n + 0.5)), tf/(tf + k1(1 − b + b·len/avg))."""
    examples, query = pool(), "cold soup"
    docs = [re.findall(r"\w+", t) for t in TEXTS]
    average = sum(map(len, docs)) / len(docs)

    def score(doc):
        total = 0.0
        for word in query.split():
            n = sum(word in d for d in docs)
            tf = doc.count(word)
            total += (
                np.log(1 + (len(docs) - n + 0.5) / (n + 0.5))
                * tf
                / (tf + 1.5 * (0.25 + 0.75 * len(doc) / average))
            )
        return total

    assert examples.bm25(query) == pytest.approx([score(d) for d in docs], abs=1e-5)


def test_similar_puts_the_most_similar_last_and_keeps_the_pools_order_among_equals():
    assert Similar().select(pool(), Item("cold soup"), 2)[-1] == 2
    assert Similar().select(pool(), Item("no word in common"), 3) == [2, 1, 0]


def test_similar_counts_each_character_of_scripts_without_spaces():
    examples = pool(("東京は雨です", "大阪は晴れです", "hello"))
    assert Similar().select(examples, Item("東京は"), 1) == [0]


def test_similar_by_an_embedding_is_by_cosine():
    vectors = letters(TEXTS)
    query = letters(["loud soup"])[0]
    cosine = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    assert Similar(letters).select(pool(), Item("loud soup"), 6) == np.argsort(cosine, kind="stable").tolist()


def test_each_text_is_embedded_once():
    seen = []

    def embed(texts):
        seen.extend(texts)
        return letters(texts)

    examples = pool()
    for text in ("x", "y", "x"):
        Similar(embed).select(examples, Item(text), 2)
        MMR(embed).select(examples, Item(text), 2)
    assert sorted(seen) == sorted([*TEXTS, "x", "y"])


@pytest.mark.parametrize("wrong", [[[1.0]] * 7, [1.0] * 6, [[np.nan]] * 6], ids=["more", "flat", "nan"])
def test_an_embedding_of_another_shape_is_refused(wrong):
    with pytest.raises(ValueError, match="embed must give one vector of finite numbers for each of 6 texts"):
        Similar(lambda texts: wrong).select(pool(), Item("x"), 2)


def test_mmr_is_the_published_rule():
    """Carbonell and Goldstein's definition, spelt out: argmax λ·sim(d, q) − (1 − λ)·max sim(d, chosen)."""
    vectors = letters(TEXTS)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = letters(["great cold soup film"])[0]
    query /= np.linalg.norm(query)
    for weight in (0.0, 0.3, 0.7, 1.0):
        chosen = []
        while len(chosen) < 4:
            values = {
                i: weight * (vectors[i] @ query)
                - (1 - weight) * max((vectors[i] @ vectors[j] for j in chosen), default=0)
                for i in range(6)
                if i not in chosen
            }
            chosen.append(max(values, key=values.get))
        found = MMR(letters, relevance=weight).select(pool(), Item("great cold soup film"), 4)
        if weight:  # at 0 the first choice is a tie of all
            assert found == chosen[::-1]


def test_mmr_leaves_out_what_says_the_same_again():
    examples = pool(("cold soup today", "cold soup today again", "cold film"))
    assert sorted(Similar().select(examples, Item("cold soup"), 2)) == [0, 1]
    assert sorted(MMR(relevance=0.3).select(examples, Item("cold soup"), 2)) == [0, 2]


def test_an_order_is_a_permutation_that_depends_on_seed_and_length_only():
    assert ordered([7, 8, 9], None) == [7, 8, 9]
    orders = {tuple(ordered([0, 1, 2], seed)) for seed in range(60)}
    assert len(orders) == 6
    assert [ordered(list("abc"), 4).index(x) for x in "abc"] == [
        ordered([5, 6, 7], 4).index(x) for x in (5, 6, 7)
    ]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("random", "random"),
        (Random(seed=3), "random(seed=3)"),
        ({"name": "balanced", "seed": 2, "by": "label"}, "balanced(seed=2, by='label')"),
        (Similar(letters), "similar(embed=letters)"),
        ({"name": "mmr", "relevance": 0.25}, "mmr(relevance=0.25)"),
    ],
)
def test_selectors_have_names(given, shown):
    assert str(selector(given)) == shown


@pytest.mark.parametrize("name", SELECTORS)
def test_selectors_survive_as_plain_data(name):
    assert selector(selector(name).to_dict()) == selector(name)


def test_a_function_cannot_be_plain_data():
    with pytest.raises(ValueError, match="holds a function, which a file cannot"):
        Similar(letters).to_dict()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("randm", ValueError, "unknown selector 'randm': did you mean 'random'"),
        (7, ValueError, "selector must be one of first, random, balanced, similar, mmr, .* got 7"),
        ({"name": "random", "sed": 1}, TypeError, "unknown option of random 'sed': did you mean 'seed'"),
        ({"name": "random", "seed": -1}, ValueError, "seed must be a whole number from 0"),
        ({"name": "mmr", "relevance": 2}, ValueError, "relevance must be a number from 0 to 1, got 2"),
    ],
)
def test_bad_selectors_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        selector(given)


def test_texts_that_look_alike_are_the_same():
    same = ["Hello, World!", "hello world", "ＨＥＬＬＯ　ｗｏｒｌｄ", " hello\nworld ", "«hello» world…"]
    assert len({normalised(t) for t in same}) == 1
    assert normalised("...") != normalised("!!!")


@pytest.mark.parametrize(
    "texts", [("2 + 3", "2 - 3", "2 * 3", "2 / 3"), ("What is C++?", "What is C#?", "What is C?")]
)
def test_texts_that_differ_by_a_sign_that_means_something_are_not_the_same(texts):
    assert len({normalised(t) for t in texts}) == len(texts)
    for text in texts:
        assert len(First().select(pool(texts), Item(text), 9)) == len(texts) - 1


def test_words_of_any_script_and_any_encoding_count():
    examples = pool(("café noir", "हिन्दी भाषा", "tea"))
    assert examples.bm25("cafe\u0301").argmax() == 0
    assert examples.bm25("भाषा").argmax() == 1
