"""Runs the notebooks from top to bottom and saves them clean; `--check` only reports those that are not clean.

Clean: every cell run in order, no widget state, no progress bars, nothing about this machine's Python.
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

VIEW = "application/vnd.jupyter.widget-view+json"


def clean(notebook: NotebookNode) -> NotebookNode:
    """The notebook without all that a run adds to it besides the outputs."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if _kept(o)]
    return notebook


def _kept(output: NotebookNode) -> bool:
    """Removes the widget from an output. Whether anything remains: its static HTML; nothing of a progress bar."""
    data = output.get("data", {})
    return data.pop(VIEW, None) is None or "text/html" in data


def run(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, resources=folder, coalesce_streams=True).execute()
    nbformat.write(clean(notebook), path)


def is_clean(path: Path) -> bool:
    notebook = nbformat.read(path, as_version=4)
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code"]
    return counts == list(range(1, len(counts) + 1)) and clean(notebook) == nbformat.read(path, as_version=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    paths = sorted(Path(__file__).parent.glob("*.ipynb"))
    if check:
        dirty = [path.name for path in paths if not is_clean(path)]
        sys.exit(f"not clean: {', '.join(dirty)}; `make notebooks` runs and cleans them" if dirty else 0)
    for path in paths:
        run(path)
        print(path.name)


if __name__ == "__main__":
    main()
