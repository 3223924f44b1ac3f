# The two commands of the README: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV ?= .venv
# As many processes as there are cores, but each takes two gigabytes. A process that dies is not
# replaced: pytest-xdist would then wait for ever at the end (pytest-dev/pytest-xdist#1378).
SPREAD := --numprocesses logical --maxprocesses 4 --dist loadfile --max-worker-restart 0
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-slow test-all faults fuzz audit sbom lint lint-infra types site pictures bench clean help

help:            ## list what make can do
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: .*## */\t/'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than 3.11: install Python 3.11 or later, or say make PYTHON=…"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing timesen into $(VENV) (once, about 2.8 GB, a few minutes) …"
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing what the tests need …"
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(VENV)/.run  ## map the sample archive; ends by saying where the map is
	$(BIN)/timesen demo

test: $(VENV)/.dev  ## the test suite (without the tests marked slow)
	$(BIN)/python -m pytest $(SPREAD) -m "not slow"

test-slow: $(VENV)/.dev  ## the tests marked slow
	$(BIN)/python -m pytest $(SPREAD) -m slow

test-all: $(VENV)/.dev  ## every test
	$(BIN)/python -m pytest $(SPREAD)

fuzz: $(VENV)/.dev  ## 100,000 damaged inputs of each kind of file that is read; hours
	$(BIN)/python -m tests.fuzz $(FUZZ)

lint: $(VENV)/.dev  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)-lint/.installed: infra/lint.txt
	$(PYTHON) -m venv $(VENV)-lint
	$(VENV)-lint/bin/pip install --quiet --disable-pip-version-check -r infra/lint.txt
	@touch $@

lint-infra: $(VENV)-lint/.installed  ## the files of infra/: hadolint, ShellCheck, yamllint, schemas
	@PATH="$(VENV)-lint/bin:$$PATH" .ci/lint-infra

types: $(VENV)/.dev  ## mypy
	$(BIN)/mypy

site: $(VENV)/.dev  ## the documentation as a site, in site/; fails on a warning
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file infra/site/mkdocs.yml

pictures: $(VENV)/.dev  ## the pictures of the documentation, from a run of the sample (Chromium and QGIS)
	$(BIN)/python -m tests.pages.pictures

bench: $(VENV)/.dev  ## benchmarks; tables in tests/benchmarks/results
	$(BIN)/python -m tests.benchmarks.bench_cell
	$(BIN)/python -m tests.benchmarks.bench_reading

faults: $(VENV)/.dev  ## 200 faults in real runs; the table in docs/reliability.md (45 minutes)
	$(BIN)/python -m tests.faults --count 200 --table docs/reliability.md

$(VENV)-audit/.installed: infra/audit.txt | $(BIN)/python
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/pip install --quiet --disable-pip-version-check -r infra/audit.txt
	@touch $@

audit: $(VENV)-audit/.installed  ## known vulnerabilities of what is pinned; exit 3: it could not be said
	@.ci/audit $(VENV)-audit/bin/pip-audit constraints.txt

sbom: $(VENV)/.run $(VENV)-audit/.installed  ## what is installed, as CycloneDX: sbom.json
	$(VENV)-audit/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
	  --output-reproducible --validate --output-file sbom.json

clean:           ## remove the environment and the demo
	rm -rf $(VENV) $(VENV)-audit $(VENV)-lint demo build site sbom.json *.egg-info
