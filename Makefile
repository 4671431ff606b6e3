# `make demo` edits a portrait from nothing; `make test` runs every test. Both may be called again at any time.
PYTHON ?= python3
BIN := .venv/bin
ATTRIBUTES ?= --attribute smiling=1.5

.PHONY: demo app chromium test nightly hostile evaluate docs lint clean

demo: .venv/installed
	@$(BIN)/python edit.py --demo $(ATTRIBUTES) --out out/demo --stages

app: .venv/installed-app
	@$(BIN)/python app.py $(FLAGS)

# The page is tested in Chromium; where it is missing and cannot be installed, those tests are skipped.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    echo "installing Chromium (once) ..." && apt-get update -qq >/dev/null && \
	    apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1; } || \
	  echo "no Chromium, so the page is not tested: apt-get install chromium"

test: .venv/installed-dev chromium
	@$(BIN)/python -m diffcam_jax.pretrained fetch all
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not nightly"

nightly: .venv/installed-nightly
	@$(BIN)/python -m pytest -q -n auto --dist worksteal -m nightly

# Hostile files for every reader, and every program killed again and again: docs/reliability.md.
hostile: .venv/installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[hostile]' || \
	  echo "no atheris for this Python: inputs are made without regard to the code they reach"
	@$(BIN)/python -m tests.hostile.fuzz --runs 10000
	@$(BIN)/python -m tests.hostile.kills --rounds 100

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

.venv/installed-app: .venv/bin/python pyproject.toml
	@echo "installing with what the server needs (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[app]'
	@touch $@ .venv/installed

.venv/installed-dev: .venv/bin/python pyproject.toml
	@echo "installing with the test tools (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/installed .venv/installed-app

.venv/installed-nightly: .venv/installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[nightly]'
	@touch $@

clean:
	rm -rf .venv out .pytest_cache .ruff_cache
