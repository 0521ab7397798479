# The two commands of README are `make sweep` and `make test`; each is complete on a machine with Python 3.11, 3.12 or 3.13.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
ARGS ?=
PORT ?= 5000
# All, since pdoc leaves out those below an __all__; it warns of the others, which it would have found.
MODULES = $(shell find architectures experiments conversion search pocketnets -name '*.py' ! -name __main__.py | \
	sed -e 's|/__init__\.py$$||' -e 's|\.py$$||' -e 's|/|.|g' | sort)

.PHONY: sweep test test-slow test-all check ui docs notebooks clean

sweep: $(INSTALLED)  ## install, run the sweep on bundled digits, promote its best model to Core ML
	$(BIN)/python -m search.sweep $(ARGS)
	$(BIN)/python -m conversion.promote

PYTEST = $(BIN)/python -m pytest --dist worksteal

test: $(INSTALLED)-test  ## install, run the tests: minutes, on a machine with nothing but Python
	$(PYTEST) --numprocesses 3 -m 'not slow' $(ARGS)

# Without the packages, whose doctests are fast: each process would import them all.
test-slow: $(INSTALLED)-test  ## the rest: Ray, PostgreSQL, Chromium, notebooks, random kill points
	$(PYTEST) --numprocesses 4 -m slow $(or $(ARGS),tests)

test-all: test test-slow  ## all tests, each once

check: $(INSTALLED)-test  ## lint, format and types, as CI runs them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: $(INSTALLED)-test  ## execute the notebooks from clean and keep their outputs
	$(BIN)/python notebooks/execute.py --write $(ARGS)

ui: $(INSTALLED)  ## MLflow's pages, with the link to the runs: two processes where its default takes fifteen
	@$(BIN)/python -c "from experiments.views import ui_links; \
		ui_links.say_links('sqlite:///mlflow.db', 'http://127.0.0.1:$(PORT)')"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true \
	MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false \
	$(BIN)/mlflow server --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port $(PORT) --workers 1 \
		--allowed-hosts 'localhost:*,127.0.0.1:*' $(ARGS)

docs: $(INSTALLED)-test  ## the Python API as pages, build/docs/index.html
	PDOC_ALLOW_EXEC=1 TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -W 'ignore:The module specification' \
		-m pdoc --docformat google --output-directory build/docs $(MODULES)

clean:  ## remove the virtual environment
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

PIP = $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt
COMPILE = $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true # on all cores; pip would use one

$(INSTALLED): setup.cfg constraints.txt | $(BIN)/python
	$(PIP) --editable .
	$(COMPILE)
	touch $@

$(INSTALLED)-test: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) --editable '.[test]'
	$(COMPILE)
	touch $(INSTALLED) $@
