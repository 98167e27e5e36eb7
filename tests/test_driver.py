"""Starting, closing and dying, each in a process of its own: the session's engine stays as it is. The first one is
started by Python itself, the others are forked from one that has imported vLLM."""

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

START = """
import os, signal, sys, threading, time
import toolkit as tk
SMALL = {"kv_cache_memory_bytes": 512 << 20}

def attempt(action):
    try:
        return action()
    except (tk.EngineError, ValueError, TypeError, tk.ModelError) as error:
        return f"{type(error).__name__}: {error}"

def main():
"""
END = """
if __name__ == "__main__":
    main()
"""


def run(body, python, **env):
    """Runs the body of main() in a fresh process; its standard output and error."""
    import os

    code = START + "".join(f"    {line}\n" for line in body.strip().splitlines()) + END
    done = subprocess.run(
        [python, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **env},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, done.stderr


def test_another_model_closes_the_first_and_a_closed_one_says_so():
    out, err = run(
        """
import random, numpy
random.seed(1); numpy.random.seed(1)
expected = random.Random(1).random(), numpy.random.RandomState(1).random()
hook = sys.excepthook
first = tk.load(**SMALL)
print(first.running, repr(first))
print(first.chat("What is the capital of France?", temperature=0).text)
print((random.random(), numpy.random.random()) == expected, sys.excepthook is hook)
assert tk.load(**SMALL) is first
second = tk.load(dtype="bfloat16", **SMALL)
print(repr(first), attempt(lambda: first.chat("Hi")))
print(second.chat("Hi", max_tokens=2).usage.completion_tokens)
print(sorted(first.spec.cached_fingerprint().diff(second.fingerprint)))
with second:
    pass
print(repr(tk.load(dtype="bfloat16", **SMALL)))
""",
        sys.executable,
    )
    lines = out.splitlines()
    assert lines[0] == "False VLLMEngine('SmolLM2-135M-Instruct', not started)"
    assert lines[1] == "The capital of France is Paris."
    assert lines[2] == "True True"
    assert lines[3].startswith(
        "VLLMEngine('SmolLM2-135M-Instruct', closed) EngineError: this engine is closed"
    )
    assert lines[4:6] == ["2", "['dtype']"]
    assert lines[6] == "VLLMEngine('SmolLM2-135M-Instruct', not started)"
    # vLLM's own output is in its log; a load that takes long says so.
    assert re.sub(r"loading SmolLM2-135M-Instruct on vLLM … \(\d+ s\)\n", "", err) == ""


def test_an_error_inside_vllm_ends_the_engine_with_its_log_and_load_starts_another(warm):
    out, _ = run(
        """
engine = tk.load(**SMALL)
def fail(llm):
    def step():
        raise RuntimeError("CPU Generator does not use offset")
    llm.llm_engine.step = step
engine.call(fail)
print(attempt(lambda: engine.chat("Hi")))
print(engine.usable)
print(attempt(lambda: engine.call(lambda llm: 1)))
again = tk.load(**SMALL)
print(again is engine, again.chat("Hi", max_tokens=2).usage.completion_tokens)
""",
        warm,
    )
    assert "EngineError: vLLM died: RuntimeError: CPU Generator does not use offset" in out
    assert "Its log is" in out
    assert ".log; toolkit.load() starts a new engine" in out
    assert out.splitlines()[-1] == "False 2"
    assert "False" in out.splitlines()


def test_a_killed_engine_process_is_noticed_and_load_starts_another(warm):
    """vLLM in processes of its own, as on a GPU; without help its client would wait for ever."""
    out, _ = run(
        """
import psutil
engine = tk.load(**SMALL)
print(engine.chat("What is the capital of France?", temperature=0).text)
print(engine.fingerprint.components["own_processes"])
children = psutil.Process().children(recursive=True)
# Its own name, or that of what stands for it where it is a fork.
core = [c for c in children if any(n in " ".join([c.name(), *c.cmdline()]) for n in ("EngineCore", "spawn_main"))]
print(len(core) > 0)
for child in core:
    threading.Timer(1.0, child.kill).start()
print(attempt(lambda: engine.chat("Go on.", max_tokens=4000, ignore_eos=True)))
again = tk.load(**SMALL)
print(again is engine, again.chat("Hi", max_tokens=2).usage.completion_tokens)
again.close()
""",
        warm,
        VLLM_ENABLE_V1_MULTIPROCESSING="1",
        VLLM_CPU_NUM_OF_RESERVED_CPU="0",
    )
    lines = out.splitlines()
    assert lines[:3] == ["The capital of France is Paris.", "True", "True"]
    assert "EngineError: vLLM" in out
    assert "died" in out
    assert "Its log is" in out
    assert lines[-1] == "False 2"


def test_what_cannot_start_says_why_and_the_next_load_works(warm):
    out, _ = run(
        """
print(attempt(lambda: tk.load(max_model_len=8192, kv_cache_memory_bytes=10 << 20).chat("Hi")))
print(attempt(lambda: tk.load(dtpye="float16")))
print(attempt(lambda: tk.load("no/such-model-here")))
print(attempt(lambda: tk.load(os.path.dirname(os.__file__))))
print(tk.load(**SMALL).chat("Hi", max_tokens=2).usage.completion_tokens)
""",
        warm,
    )
    assert "EngineError: vLLM did not start: ValueError: To serve at least one request" in out
    assert "TypeError: unknown engine argument 'dtpye': did you mean 'dtype'" in out
    assert "ModelError: unknown model 'no/such-model-here': it is no local folder" in out
    assert "is no model: it has no config.json" in out
    assert out.splitlines()[-1] == "2"


def test_engines_that_were_closed_leave_no_memory_behind(warm, tiny_folder):
    """But for the first: libraries keep what they make once."""
    out, _ = run(
        f"""
import ctypes, gc
for _ in range(3):
    engine = tk.load({str(tiny_folder)!r}, kv_cache_memory_bytes=64 << 20)
    engine.chat("Hi", max_tokens=2)
    engine.close()
    gc.collect(), ctypes.CDLL(None).malloc_trim(0)
    tokenizers = sum("tokenizers" in str(type(item).__module__) for item in gc.get_objects())
    resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20
    print(tokenizers, resident)
""",
        warm,
    )
    _, (number, before), (again, after) = ([int(part) for part in line.split()] for line in out.splitlines())
    assert number == again > 0
    assert after - before < 20  # MB; with the tokenizers that vLLM's caches kept it was 40


def test_a_model_loads_after_numba_was_imported(warm):
    """vLLM's CPU build fails at what numba leaves in the process, and bm25s imports numba."""
    out, _ = run(
        """
import numba
print(tk.load(**SMALL).chat("Hi", max_tokens=2).usage.completion_tokens)
""",
        warm,
    )
    assert out.splitlines()[-1] == "2"


def test_a_model_with_tokens_for_it_fills_in_the_middle(warm):
    """The default model with three spare tokens renamed: it has not learnt what they mean, but is given them."""
    out, _ = run(
        """
import json, pathlib, shutil, tempfile
folder = pathlib.Path(shutil.copytree(tk.models.path(), tempfile.mkdtemp() + "/fim"))
names = {"<issue_start>": "<fim_prefix>", "<issue_comment>": "<fim_suffix>", "<issue_closed>": "<fim_middle>"}
for path in folder.glob("*token*.json"):
    text = path.read_text()
    for old, new in names.items():
        text = text.replace(old, new)
    path.write_text(text)
engine = tk.load(str(folder), **SMALL)
c = engine.complete("def add(a, b):\\n    c", suffix="    return c", temperature=0, max_tokens=8)
print(engine.tokenizer.decode(tuple(c.prompt_token_ids)))
print(c.request.suffix, c.usage.completion_tokens > 0, c.to_openai()["object"])
""",
        warm,
    )
    assert "<fim_prefix>def add(a, b):\n    c<fim_suffix>    return c<fim_middle>" in out
    assert out.splitlines()[-1] == "    return c True text_completion"
