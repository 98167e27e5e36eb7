"""The README's example, run as it stands."""

import re

import pytest
from matplotlib.testing.compare import compare_images
from readme_pictures import PICTURES, README, ROOT, draw_plot, run_example


def lines(text):
    return [line.rstrip() for line in text.strip().splitlines()]


def test_the_example_prints_what_the_readme_shows(engine, tmp_path, monkeypatch, capsys):
    if engine.fingerprint.components["device"]["kind"] != "cpu":
        pytest.skip("the output shown is that of a CPU: a GPU draws other samples from the same seeds")
    monkeypatch.chdir(tmp_path)
    names = run_example()
    (shown,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    assert lines(capsys.readouterr().out) == lines(shown)
    draw_plot(names["results"], "plot.png")
    assert (
        compare_images(PICTURES / "quickstart.png", "plot.png", tol=5) is None
    )  # of 255 levels, root mean square


def test_every_file_and_folder_it_names_is_there():
    for name in [*re.findall(r"\]\(([^):]+)\)", README), "notebooks/00_quickstart.ipynb", "environment.yml"]:
        assert (ROOT / name).exists(), name
