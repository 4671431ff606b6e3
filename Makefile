# `make demo` edits a portrait from nothing; `make test` runs every test. Both may be called again at any time.
PYTHON ?= python3
BIN := .venv/bin
ATTRIBUTES ?= --attribute smiling=1.5

.PHONY: demo test nightly evaluate docs lint clean

demo: .venv/installed
	@$(BIN)/python edit.py --demo $(ATTRIBUTES) --out out/demo --stages

test: .venv/installed-dev
	@$(BIN)/python -m diffcam_jax.pretrained fetch all
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not nightly"

nightly: .venv/installed-dev
	@$(BIN)/python -m pytest -q -n auto --dist worksteal -m nightly

evaluate: .venv/installed-dev
	@$(BIN)/python evaluate.py --config configs/eval/all.py --workdir out/evaluation

docs: .venv/installed-dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir out/site
	@echo "open out/site/index.html"

lint: .venv/installed-dev
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	@echo "installing (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml
	@echo "installing with the test tools (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/installed

clean:
	rm -rf .venv out .pytest_cache .ruff_cache
