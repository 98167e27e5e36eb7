"""Workers of pytest-xdist share the cores: an engine in each of them computes with its part of them. Two engines with
two threads each on two cores write a third slower than two with one thread, which together write nearly twice what
one engine does on both: a model this small has little use for a second core while it answers one request."""

import os


def pytest_configure(config):
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:  # read when PyTorch is loaded, here and in all processes that are started from here
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // workers)))
