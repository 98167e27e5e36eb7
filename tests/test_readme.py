"""The README's example, run as it stands."""

import re
from pathlib import Path

import pytest
from matplotlib.testing.compare import compare_images

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def lines(text):
    return [line.rstrip() for line in text.strip().splitlines()]


def test_the_example_prints_what_the_readme_shows(engine, tmp_path, monkeypatch, capsys):
    if engine.fingerprint.components["device"]["kind"] != "cpu":
        pytest.skip("the output shown is that of a CPU: a GPU draws other samples from the same seeds")
    monkeypatch.chdir(tmp_path)
    names = {}
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), names)
    assert lines(capsys.readouterr().out) == lines(shown)
    names["results"].plot().savefig("plot.png", dpi=110)
    picture = ROOT / "data" / "pictures" / "quickstart.png"
    assert compare_images(picture, "plot.png", tol=5) is None  # root mean square of 255 levels


def test_every_file_and_folder_it_names_is_there():
    for name in [*re.findall(r"\]\(([^):]+)\)", README), "notebooks/00_quickstart.ipynb", "environment.yml"]:
        assert (ROOT / name).exists(), name
