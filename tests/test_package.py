"""The house itself: import budget, public names, what the README promises. `make lint` sees that imports go down."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import toolkit as tk
from toolkit.engines.vllm.plugin import MARK

ROOT = Path(__file__).parents[1]
PUBLIC = [
    "Calibration",
    "Cells",
    "Choice",
    "Classification",
    "Comparison",
    "Completion",
    "Conversation",
    "Count",
    "Delta",
    "Determinism",
    "Engine",
    "EngineError",
    "Explanation",
    "Fingerprint",
    "Fork",
    "Grade",
    "Ladder",
    "LocalPrice",
    "Logprobs",
    "Microscope",
    "ModelError",
    "ModelPrice",
    "NotTold",
    "Plan",
    "Price",
    "PriceError",
    "Prompt",
    "Rendered",
    "Request",
    "RequestError",
    "ResponseFormat",
    "Results",
    "Sampling",
    "Server",
    "Store",
    "StoreBusy",
    "StoreError",
    "Sweep",
    "Token",
    "Tokens",
    "Tool",
    "ToolCall",
    "ToolRun",
    "Tree",
    "Usage",
    "Variant",
    "Verdict",
    "Violation",
    "calibration",
    "cases",
    "classify",
    "compare_tokenizers",
    "connect",
    "count_many",
    "count_tokens",
    "determinism_ladder",
    "examples",
    "explain_difference",
    "explore",
    "few_shot",
    "fold_system",
    "fork",
    "gallery",
    "grid",
    "image",
    "load",
    "logprobs",
    "microscope",
    "model_price",
    "model_prices",
    "models",
    "playground",
    "price_of_schema",
    "protocols",
    "removed_mass",
    "response_format",
    "results",
    "run_tools",
    "serve",
    "servers",
    "strict_violations",
    "sweep",
    "tokens",
    "tool",
    "tree",
    "variants",
    "verdict",
    "widgets",
    "zipped",
]


def test_import_loads_nothing_heavy():
    code = "import json, sys, toolkit; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)))
    assert "toolkit" in loaded
    assert not loaded & {
        "vllm",
        "torch",
        "numpy",
        "pandas",
        "matplotlib",
        "ipywidgets",
        "anywidget",
        "openai",
        "pydantic",
        "transformers",
        "pyarrow",
        "tqdm",
    }


def test_public_names_are_these_and_documented():
    assert tk.__all__ == PUBLIC
    for name in PUBLIC:
        assert getattr(tk, name).__doc__, f"{name} has no docstring"


def test_each_widget_has_a_public_name():
    """What a message or an example writes can be copied as it stands."""
    views = {
        name
        for path in (ROOT / "toolkit/widgets").glob("*.py")
        for name in re.findall(r"^class (\w+)\(View\)", path.read_text(), re.MULTILINE)
    }
    assert views <= set(tk.widgets.__all__)


def test_a_module_does_not_take_the_place_of_a_public_name():
    code = (
        "import toolkit.results.comparison, toolkit.serve, toolkit as tk; "
        "print(tk.results.__name__, tk.serve.__name__)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "results serve\n"


def test_a_folder_that_names_its_modules_names_all():
    for file in (ROOT / "toolkit").glob("*/**/__init__.py"):
        folder = importlib.import_module(".".join(file.parent.relative_to(ROOT).parts))
        names = set(getattr(folder, "__all__", ()))
        modules = {path.stem for path in file.parent.glob("*.py")} - {"__init__"}
        assert not names & modules or modules <= names, file


def test_every_folder_is_in_the_wheel():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = (path.parent.relative_to(ROOT) for path in (ROOT / "toolkit").rglob("__init__.py"))
    assert packages == [*sorted(".".join(folder.parts) for folder in folders), "toolkit.data"]


def test_version_is_that_of_the_project():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == tk.__version__


def test_conda_environment_bootstraps_the_project_and_lists_nothing_twice():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert [c.split()[0] for c in conda] == ["python", "pip", "make"]
    assert pip["pip"][-1] == "-e .[cpu,lab,dev]"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"].keys() == {"engine", "cpu", "gpu", "lab", "dev"}


def test_every_readme_command_is_a_target_that_ci_runs():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci/run").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for command in ("make demo", "make test", "make lint"):
        assert command in readme
        assert command in ci
        assert f"\n{command.split()[1]}: " in makefile
    # CI runs its two parts, lint and all tests.
    assert "make check" in readme
    assert "\ncheck: lint " in makefile


def test_help_is_the_default_and_lists_every_target():
    shown = subprocess.check_output(["make", "-s", "-C", str(ROOT)], text=True)
    for target in ("install", "demo", "lab", "check", "test", "lint", "bench", "clean"):
        assert f"make {target} " in shown


def test_vllm_finds_the_plugin():
    from importlib.metadata import entry_points

    (plugin,) = entry_points(group="vllm.general_plugins", name="toolkit")
    assert plugin.value == "toolkit.engines.vllm.plugin:ignore_interrupts"
    plugin.load()()  # in the parent process it does nothing


PLUGIN = """
import multiprocessing, signal
from toolkit.engines.vllm.plugin import ignore_interrupts

def child(queue):
    ignore_interrupts()
    queue.put(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)

queue = multiprocessing.get_context("fork").SimpleQueue()
multiprocessing.get_context("fork").Process(target=child, args=[queue]).start()
print(queue.get())
"""


@pytest.mark.parametrize(("mark", "ignored"), [({MARK: "1"}, "True"), ({}, "False")])
def test_the_plugin_works_in_processes_of_an_engine_of_ours_alone(mark, ignored):
    env = {name: value for name, value in os.environ.items() if name != MARK} | mark
    assert subprocess.check_output([sys.executable, "-c", PLUGIN], env=env, text=True).strip() == ignored


def test_notebooks_have_something_to_check():
    """nbval compares marked cells only, and passes whatever they print when they have no output."""
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        code = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        checked = [c for c in code if "NBVAL_CHECK_OUTPUT" in "".join(c["source"])]
        assert checked, f"{path.name}: no cell is checked"
        assert all(c["outputs"] and c["execution_count"] for c in checked), f"{path.name}: checks nothing"


def test_files_and_functions_stay_small():
    """At most 400 lines a file and 50 a function."""
    for path in (ROOT / "toolkit").rglob("*.py"):
        source = path.read_text()
        assert source.count("\n") <= 400, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                assert lines <= 50, f"{path}:{node.lineno} {node.name} has {lines} lines"
