import toolkit as tk
from toolkit.experiments import protocols


def test_completions_of_one_prompt_are_counted(engine, db):
    report = protocols.unique_completions(engine, "Name a colour.", n=6, store=db, max_tokens=6)
    (row,) = report.requests.to_dict("records")
    texts = tk.results(db).frame()["text"]
    assert (row["runs"], row["unique"]) == (6, texts.nunique())
    assert tk.results(db)[0].request.sampling.temperature == 0
    assert "would be rarer than 1 in 20" in repr(report) or "different outputs" in repr(report)


def test_agreement_on_a_task_in_words_and_in_answers(engine, db):
    rows = [{"c": "France", "expected": "Paris"}, {"c": "Peru", "expected": "Lima"}]
    report = protocols.total_agreement(
        engine,
        "What is the capital of {c}?",
        rows,
        parse=lambda text: text.rstrip(".").split()[-1] if "capital" in text else None,
        score=lambda row: row["row.expected"] in row["text"],
        n=3,
        store=db,
        max_tokens=12,
    )
    (row,) = report.within.to_dict("records")
    texts = tk.results(db).frame().groupby("row.c")["text"]
    assert row["same"] == (texts.nunique() == 1).mean()
    right = tk.results(db).frame()
    share = [e in t for e, t in zip(right["row.expected"], right["text"], strict=True)]
    assert row["accuracy"] == sum(share) / len(share)
    assert (row["requests"], row["runs"]) == (2, 6)
    assert 0 <= row["worst"] <= row["accuracy"] <= row["best"] <= 1


def test_one_seed_several_times(engine, db):
    report = protocols.same_seed(engine, "Name a colour.", n=5, store=db, max_tokens=6)
    (row,) = report.requests.to_dict("records")
    assert row["runs"] == 5
    assert not row["random"]
    asked = tk.results(db)[0].request.sampling
    assert (asked.seed, asked.temperature) == (123, 1.0)
