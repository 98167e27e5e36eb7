"""Which system a server is: by what it reports, at whatever address and under whichever name of its model."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from reporting_server import OURS, ReportingServer, card

import toolkit as tk
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request
from toolkit.core.server_fingerprint import same_system, server_fingerprint
from toolkit.store.rows import StoredCompletion
from toolkit.store.store import Store

SAVED = Path(__file__).parent / "saved" / "server-6.db"
VLLMS_OWN = "vllm-0.32.0-5e0a1b2c"
NAMES = (card("small"), card("gpt-4o-mini"), card("sql", "/adapters/1", parent="small"))
SWEEP = tk.sweep("Say {n}", [{"n": i} for i in range(6)])


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def fingerprint_of(*models, model=None, **server):
    with ReportingServer(*models, **server) as running, tk.connect(running.url, model) as engine:
        return engine.fingerprint


# Address, alias, model


def test_the_identity_is_the_servers_string_and_the_model():
    with ReportingServer() as server, tk.connect(server.url) as engine:
        assert dict(engine.fingerprint.components) == {
            "engine": "server", "model": "small", "system_fingerprint": OURS,
        }  # fmt: skip
        told = engine.fingerprint.notes
        assert (told["url"], told["root"], told["owned_by"]) == (server.url, "/models/small", "vllm")
        assert (told["version"], told["max_model_len"], engine.window) == ("0.32.0", 2048, 2048)


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"version": None},
        {"window": None},
        {"models": (card("small", "/elsewhere/small"),)},
        {"models": NAMES, "model": "small"},
        {"models": NAMES, "model": "gpt-4o-mini"},
        {"models": (card("small"), card("other", "/models/other")), "model": "small"},
    ],
    ids=str,
)
def test_one_system_is_one_wherever_and_however_it_is_reached(same):
    options = dict(same)
    assert fingerprint_of(*options.pop("models", ()), **options) == fingerprint_of()


@pytest.mark.parametrize(
    "other",
    [
        {"fingerprint": "fp_5e0a1b2c3e"},
        {"models": (card("large", "/models/large"),)},
        {"models": NAMES, "model": "sql"},
        {"models": (card("small", owned_by="me"),)},  # no vLLM: its string may mean anything
        {"fingerprint": VLLMS_OWN},
        {"fingerprint": "fp_5E0A1B2C3D"},
        {"fingerprint": OURS + "0"},
        {"fingerprint": None},
    ],
    ids=str,
)
def test_another_system_is_another(other):
    options = dict(other)
    assert fingerprint_of(*options.pop("models", ()), **options) != fingerprint_of()


def test_an_adapter_is_known_by_where_its_weights_are():
    adapters = [card("small"), card("sql", "/adapters/1", parent="small")]
    moved = [card("small"), card("sql", "/adapters/2", parent="small")]
    first = fingerprint_of(*adapters, model="sql")
    assert first == fingerprint_of(*adapters, model="sql")
    assert first.components["root"] == "/adapters/1"
    assert first != fingerprint_of(*moved, model="sql")
    assert not same_system(first, fingerprint_of(*moved, model="sql"))


@pytest.mark.parametrize("told", [VLLMS_OWN, None, "fp_ollama"])
def test_the_address_counts_where_nothing_better_is_told(told):
    here, there = (fingerprint_of(*NAMES[:2], fingerprint=told) for _ in range(2))
    assert here != there
    assert here.diff(there).keys() == {"url"}


@pytest.mark.parametrize("told", [VLLMS_OWN, None, OURS])
def test_aliases_at_one_address_are_one_system(told):
    with ReportingServer(*NAMES[:2], fingerprint=told) as server:
        engines = [tk.connect(server.url, name) for name in (None, "small", "gpt-4o-mini")]
        assert len({engine.fingerprint.id for engine in engines}) == 1
        assert [engine.model for engine in engines] == ["small", "small", "gpt-4o-mini"]
        assert engines[2].chat("x").text == "x"
        assert server.asked[-1]["model"] == "gpt-4o-mini"  # it is asked by the name that was given
        for engine in engines:
            engine.close()


def test_models_without_a_root_are_not_aliases():
    models = [card("a", None, "system"), card("b", None, "system")]
    with (
        ReportingServer(*models) as server,
        tk.connect(server.url, "a") as a,
        tk.connect(server.url, "b") as b,
    ):
        assert a.fingerprint != b.fingerprint


# OpenAI's field


@pytest.mark.parametrize("told", [OURS, VLLMS_OWN, "fp_44709d6fcb", "v1", None])
def test_openais_field_has_the_servers_own_string_and_ours_is_beside_it(tmp_path, told):
    with ReportingServer(fingerprint=told) as server, tk.connect(server.url) as engine:
        (row,) = tk.sweep("x").run(engine, tmp_path / "run.db")
        streamed = [delta.completion for delta in _stream(engine)][-1]
        exported = tk.results(tmp_path / "run.db")
        again = tk.Results.from_jsonl(exported.to_jsonl(tmp_path / "x.jsonl"))[0]
        for completion in (engine.chat("x"), streamed, row, again):
            assert completion.to_openai()["system_fingerprint"] == told
            assert completion.system_fingerprint == engine.fingerprint.id


def _stream(engine):
    """A whole completion as its only delta: the server above does not stream."""
    completion = engine.chat("x")
    return [tk.core.completion.Delta(completion.text, completion=completion)]


def test_of_an_engine_here_the_field_has_our_id(made):
    completion = made()
    assert completion.to_openai()["system_fingerprint"] == completion.system_fingerprint
    record = Fingerprint({"engine": "vllm", "model": "m"})
    whole = dataclasses.replace(completion, fingerprint=record, system_fingerprint=record.id)
    assert whole.to_openai()["system_fingerprint"] == record.id


# Stores


def test_a_server_that_is_started_again_is_not_asked_again(tmp_path):
    store = tmp_path / "run.db"
    with ReportingServer(*NAMES[:2]) as first, tk.connect(first.url) as engine:
        before = SWEEP.run(engine, store).frame()
    for name in ("small", "gpt-4o-mini", None):
        with ReportingServer(*NAMES[:2]) as second, tk.connect(second.url, name) as engine:
            assert second.url != first.url
            plan = SWEEP.plan(engine, store)
            assert (plan.stored, plan.missing) == (6, ())
            assert SWEEP.run(engine, store).frame().equals(before)
            assert second.questions() == []
    with ReportingServer(fingerprint="fp_0000000001") as other, tk.connect(other.url) as engine:
        assert len(SWEEP.plan(engine, store).missing) == 6


@pytest.fixture
def old_store(tmp_path):
    """Written before the identity of such a server was its own string: rows 0 to 2 at one address, 3 to 5 at another,
    under an alias; and 0 and 1 of a server that sends vLLM's own string."""
    return Path(shutil.copy(SAVED, tmp_path / "old.db"))


@pytest.mark.parametrize("name", ["small", "gpt-4o-mini"])
def test_what_an_older_version_stored_under_addresses_is_found(old_store, name):
    before = _completions(old_store)
    with ReportingServer(*NAMES[:2]) as server, tk.connect(server.url, name) as engine:
        plan = SWEEP.plan(engine, old_store)
        assert (plan.stored, len(plan.missing)) == (6, 0)
        results = SWEEP.run(engine, old_store)
        assert server.questions() == []
        assert sorted(results.frame()["text"]) == [f"Say {i}" for i in range(6)]
        assert [c.text for c in results] == results.frame()["text"].tolist()
        more = tk.sweep("Say {n}", [{"n": i} for i in range(8)])
        assert sorted(more.run(engine, old_store).frame()["text"]) == [f"Say {i}" for i in range(8)]
        assert sorted(server.questions()) == ["Say 6", "Say 7"]
    after = _completions(old_store)
    assert (len(before), len(after)) == (8, 10)
    assert after[:8] == before
    assert {row[1] for row in after[8:]} == {engine.fingerprint.id}


def _completions(path):
    with Store(path) as store:
        return store.query("SELECT request, fingerprint, repeat, text FROM completions ORDER BY number")[1]


def test_of_an_old_store_only_the_same_system_is_found(old_store):
    for options in ({"fingerprint": "fp_0000000001"}, {"fingerprint": VLLMS_OWN}, {"fingerprint": None}):
        with ReportingServer(*NAMES[:2], **options) as server, tk.connect(server.url) as engine:
            assert len(SWEEP.plan(engine, old_store).missing) == 6
    with ReportingServer(*NAMES) as server, tk.connect(server.url, "sql") as engine:
        assert len(SWEEP.plan(engine, old_store).missing) == 6


def test_the_ids_in_an_old_store_stay(old_store):
    with Store(old_store) as store:
        ids = [name for (name,) in store.query("SELECT id FROM fingerprints")[1]]
        assert [store.fingerprint(name).id for name in ids] == ids
        for name in ids:
            whole = store.fingerprint(name).components["system_fingerprint"] == OURS
            assert len(store.ids_of_system(name)) == (2 if whole else 1)
            texts = set(tk.Results.of(store, fingerprint=name).frame()["text"])
            assert texts == {f"Say {i}" for i in range(6 if whole else 2)}
        assert store.ids_of_system("fp_unknown") == ["fp_unknown"]


@pytest.mark.parametrize("name", ["small", "gpt-4o-mini"])
def test_runs_under_old_and_new_ids_are_of_one_system(old_store, name):
    """Six rows at two old addresses, and each once more: in a report they are runs of one system, also beside a
    server that sends vLLM's own string, of which nothing else is known."""
    with ReportingServer(*NAMES[:2]) as server, tk.connect(server.url, name) as engine:
        repeated = tk.sweep("Say {n}", [{"n": i} for i in range(6)], repeats=2)
        own = repeated.run(engine, old_store).determinism()
        assert len(server.questions()) == 6
    assert own.systems == (engine.fingerprint.id,)
    assert own.within["runs"].tolist() == [12]
    assert own.within["repeated"].tolist() == [6]
    assert (own.requests["runs"] == 2).all()
    assert own.between.empty
    with Store(old_store) as store:
        everything = tk.Results.of(store).determinism()
        ids = tk.Results.of(store).frame()["system_fingerprint"].unique()
        (other,) = [name for name in ids if store.ids_of_system(name) == [name]]
    assert everything.systems == (engine.fingerprint.id, other)
    assert everything.within["runs"].tolist() == [12, 2]


def test_ids_of_systems():
    """The one without an address, else the first; engines here, and servers that differ, have their own."""
    local = Fingerprint({"engine": "vllm", "model": "small"})
    records = [old(), old(url="http://other/v1"), old("fp_0000000000"), local]
    new = server_fingerprint(OLD, OURS)
    with Store(":memory:") as store:
        for record in (*records, new):
            store.add_engine(record, None)
        ids = [record.id for record in (*records, new)]
        assert store.system_ids(ids[:4]) == {ids[0]: ids[0], ids[1]: ids[0], ids[2]: ids[2], ids[3]: ids[3]}
        assert store.system_ids(ids) == {
            ids[0]: new.id,
            ids[1]: new.id,
            ids[2]: ids[2],
            ids[3]: ids[3],
            new.id: new.id,
        }


def test_an_error_under_an_old_id_goes_when_it_is_answered(tmp_path, made):
    """Also for the whole store, whichever ID the error was stored under."""
    failed = dataclasses.replace(made(error="broke"), system_fingerprint=old().id)
    with ReportingServer() as server, tk.connect(server.url) as engine:
        request = Request.chat("Say 1").resolve({})
        with Store(tmp_path / "run.db") as store:
            run = store.begin_run("old", old(), [])
            store.add([StoredCompletion(dataclasses.replace(failed, request=request), 0, run)])
        sweep = tk.sweep("Say 1")
        assert sweep.run(engine, tmp_path / "run.db").frame()["error"].isna().all()
        assert tk.results(tmp_path / "run.db").frame()["error"].isna().all()


# The rule

OLD = {
    "engine": "server", "url": "http://127.0.0.1:1/v1", "model": "small", "owned_by": "vllm",
    "root": "/models/small", "max_model_len": 2048, "version": "0.32.0",
}  # fmt: skip


def old(told=OURS, **changes):
    return Fingerprint({**OLD, **changes, "system_fingerprint": told})


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (old(), old(url="http://other/v1"), True),
        (old(), old(model="alias"), True),
        (old(), old(root="/moved/small"), True),
        (old(), old(root=None), True),
        (old(), old(version="0.33.0"), True),
        (old(), old("fp_0000000000"), False),
        (old(), old(model="large", root="/models/large"), False),
        (old(model="a", root=None), old(model="b", root=None), False),
        (old(VLLMS_OWN), old(VLLMS_OWN, model="alias"), True),
        (old(VLLMS_OWN), old(VLLMS_OWN, url="http://other/v1"), False),
        (old(VLLMS_OWN, model="a", root=None), old(VLLMS_OWN, model="b", root=None), False),
        (old(None), old(None, model="alias"), True),
        (old(owned_by="system"), old(owned_by="system", url="http://other/v1"), False),
        (old(), Fingerprint({"engine": "vllm", "model": "small"}), False),
        (Fingerprint({"engine": "vllm", "model": "a"}), Fingerprint({"engine": "vllm", "model": "b"}), False),
        (Fingerprint({}), old(), False),
    ],
)
def test_which_records_are_of_one_system(a, b, same):
    assert same_system(a, b) is same
    assert same_system(b, a) is same
    assert same_system(a, a)


TEXTS = st.sampled_from(["x", "y", None])


@given(url=TEXTS, model=TEXTS, root=TEXTS, version=TEXTS, told=st.sampled_from([OURS, VLLMS_OWN, None]))
def test_a_new_record_is_of_the_same_system_as_the_old_one_of_the_same_server(**parts):
    told = parts.pop("told")
    reported = {**OLD, **parts}
    record = server_fingerprint(reported, told)
    assert same_system(record, old(told, **parts))
    assert record.system_fingerprint == told
    # Whatever was recorded before as two systems with two strings stays two.
    assert not same_system(record, old("fp_0000000000", **parts))
