import json

import numpy as np
import pytest
import yaml

import toolkit as tk
from toolkit.prompts import gallery
from toolkit.prompts.gallery import FOLDER, Entry

ENTRIES = list(tk.gallery())
KINDS = {"text", "label", "number", "list", "json", "code"}


def test_there_are_some_thirty_of_every_kind():
    assert len(ENTRIES) >= 25
    assert set(tk.gallery().kinds) == KINDS
    assert {"few-shot", "rag", "jinja", "json", "dialogue", "system"} <= set(tk.gallery().tags)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_every_row_renders_and_is_not_among_its_examples(entry):
    assert entry.name == entry.prompt.name
    assert (FOLDER / f"{entry.name}.yaml").exists()
    assert 3 <= len(entry.rows) <= 6
    assert entry.title
    assert entry.description
    for row in entry.rows:
        rendered = entry.prompt.render(row)
        said = rendered.messages[-1]["content"]
        assert "{{" not in said
        assert not rendered.dropped
        # Were a row among the examples, it would be left out, and one would be missing.
        pool, k = entry.prompt.examples, entry.prompt.k
        assert len(rendered.examples or ()) == (len(pool) if k is None else k)
        if entry.kind == "json" and "expected" in row:
            json.loads(row["expected"])
        if entry.kind == "number" and "expected" in row:
            assert isinstance(row["expected"], (int, float))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_every_prompt_can_be_asked(engine, entry):
    assert engine.count(entry.prompt.render(entry.rows[0])) < 1000


def test_all_of_them_are_answered_and_shown(engine, tmp_path):
    for entry in ENTRIES:
        results = tk.sweep(entry.prompt, entry.rows, tk.grid(temperature=0, max_tokens=1)).run(
            engine, tmp_path / "g.db"
        )
        assert len(results) == len(entry.rows)
        assert not results.frame()["error"].notna().any()
        assert {f"row.{name}" for name in entry.prompt.variables} <= set(results.frame())
        assert "<table>" in results._repr_html_()
        assert entry.prompt.template[:3] in entry.prompt._repr_html_() or entry.prompt.syntax == "jinja"


def test_entries_are_found_by_words_kind_and_tag():
    found = tk.gallery().search("sentiment")
    assert "classify-sentiment" in [e.name for e in found]
    assert {e.kind for e in tk.gallery().search(kind="json")} == {"json"}
    assert all("code" in e.tags for e in tk.gallery().search(tag="code"))
    assert len(tk.gallery().search("no such words")) == 0
    assert len(tk.gallery().search()) == len(ENTRIES)
    assert [e.name for e in tk.gallery()[:2]] == [e.name for e in ENTRIES[:2]]


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda g: g["clasify-sentiment"], KeyError, "unknown prompt 'clasify-sentiment': did you mean"),
        (lambda g: g.search(kind="lable"), ValueError, "unknown kind 'lable': did you mean 'label'"),
        (lambda g: g.search(tag="zzz"), ValueError, "unknown tag 'zzz': known: classify, code, "),
    ],
)
def test_unknown_names_say_the_nearest(ask, error, message):
    with pytest.raises(error, match=message):
        ask(tk.gallery())


def test_the_gallery_shows_itself():
    assert "classify-sentiment" in repr(tk.gallery())
    assert "<td" in tk.gallery()._repr_html_()
    shown = tk.gallery()["classify-sentiment"]._repr_html_()
    assert "examples" in shown


def test_a_bad_file_is_named(tmp_path):
    good = yaml.safe_load((FOLDER / "classify-sentiment.yaml").read_text())
    for change, message in (
        ({"prompt": {"template": "{"}}, "bad.yaml: template"),
        ({"more": 1}, "bad.yaml: .*unexpected keyword argument 'more'"),
    ):
        (tmp_path / "bad.yaml").write_text(yaml.safe_dump({**good, **change}))
        with pytest.raises((ValueError, TypeError), match=message):
            Entry.load(tmp_path / "bad.yaml")


def test_an_installation_without_the_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="install from the repository"):
        tk.gallery()


def test_entries_by_position():
    entries = tk.gallery()
    assert entries[-1] is entries[len(entries) - 1] is entries[np.uint8(len(entries) - 1)]
    assert len(entries[:3]) == 3
    for place in (len(entries), 2**70, np.uint64(2**64 - 1)):
        with pytest.raises(IndexError, match="the position of an entry must be from -"):
            entries[place]
    for place in (1.0, None, [1]):
        with pytest.raises(TypeError, match="the position of an entry must be a whole number, got"):
            entries[place]
