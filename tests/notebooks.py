"""Runs the notebooks under nbval, each in a kernel of its own that begins with vLLM imported, one for each core at a
time: `python tests/notebooks.py`, with options of pytest."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import fork_server

TESTS = Path(__file__).parent
NOTEBOOKS = TESTS.parent / "notebooks"


def main():
    with tempfile.TemporaryDirectory() as folder:
        lease = fork_server.Lease(Path(folder))
        fork_server.kernel(lease.python, Path(folder))
        env = {**os.environ, "JUPYTER_PATH": folder, "PYTHONPATH": str(TESTS)}
        command = [
            sys.executable, "-m", "pytest", "-p", "cores", "-n", "logical", "--maxprocesses=2", "--dist=loadfile",
            "--no-loadscope-reorder", "--nbval-lax", "--nbval-sanitize-with", str(TESTS / "nbval.cfg"), *sys.argv[1:],
            *(str(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"), reverse=True)),  # the later, the longer
        ]  # fmt: skip
        status = subprocess.run(command, env=env, cwd=TESTS.parent).returncode
        lease.close()
    sys.exit(status)


if __name__ == "__main__":
    main()
