# Every target sets up .venv first, once; it is made anew when pyproject.toml or constraints.txt change.
PYTHON ?= python3.11
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile
BIN := .venv/bin
READY := .venv/.ready

.PHONY: sweep test test-all check docs format bench setup clean

sweep: $(READY)  ## the main job: 32 configurations of a network on real data, and the best one exported
	$(BIN)/caviar sweep experiment=digits_asha

test: $(READY)  ## the default tests, under 5 minutes on 2 cores
	$(PYTEST)

test-all: $(READY)  ## the slow ones too
	$(PYTEST) -m "not gpu"

check: docs  ## lint, format, types, and the documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)  ## the documentation, into site/: a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## what it costs, as ratios within one run
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv outputs dist build site
