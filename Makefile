# Every target does all the set-up it needs from a fresh clone; a second run of it is quick.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first Python that really runs (a version manager's shim may not) and can make environments.
SUITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c '$(SUITS)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
CHECKED := build/checked

# Where this variable is set, Python would compile all of torch anew in every process: 18 s to start instead of 8.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test worth downstream knowledge trainer faults faults-of-runs faults-of-data fault-docs soak mutants mutants-sample check lint fast-tests bench wheel audit checked-tree links lock site reference journeys clean

help:
	@echo 'make setup   environment in .venv, pinned by requirements.lock'
	@echo 'make demo    phantoms, shards, pre-training with a crash in it, checks, report'
	@echo 'make worth   what pre-training learns, against opponents that do not: half an hour on two cores'
	@echo 'make downstream   what encoders are worth in tasks, beside first weights and pixels: two hours, once'
	@echo 'make knowledge    where findings are, by distilled and by raw reports, and what that is worth: an hour of one core'
	@echo 'make test    all tests            make check   lint, types, import contracts, fast tests'
	@echo 'make journeys  what a user does on the first day, and every code block of the pages'
	@echo 'make trainer  make faults   what the tests leave out: every case of the training loop, every fault'
	@echo 'make soak    3,000 killed writers, 100,000 damaged sets, a run that is stopped fifty times: 20 minutes'
	@echo 'make mutants break the code on purpose: do the tests notice?'
	@echo 'make bench   measure the parts    make wheel   dist/*.whl, the same bytes for the same sources'
	@echo 'make site    README and docs/ as pages, in build/site'
	@echo 'make audit   the lock: hashes, banned releases, known vulnerabilities (asks the network)'
	@echo 'make clean   remove what was built; .venv and runs stay'

setup: .venv/project.done

# --no-deps: the lock is complete, so nothing needs resolving. The imports at the end prove the environment and compile
# what is used of it; compiling all that is installed would take three times as long.
.venv/lock.done: requirements.lock
	@test -n '$(PYTHON)' || { echo 'no Python 3.11 or 3.12 with venv found: make PYTHON=/path/to/python3.12' >&2; exit 4; }
	@test -x $(BIN)/python || '$(PYTHON)' -m venv .venv
	@echo 'installing requirements.lock into .venv (some 6 GB; one to two minutes, longer where all is downloaded)'
	@$(BIN)/python -m pip install -qq --no-input --disable-pip-version-check --require-hashes --no-deps --no-compile -r requirements.lock
	@$(BIN)/python -W ignore -c 'import deepspeed, matplotlib.pyplot, nvidia.dali.fn, pydantic, rich, timm, tokenizers, webdataset; from transformers import BertModel' > /dev/null 2>.venv/imports.log \
		|| { cat .venv/imports.log >&2; exit 4; }
	@touch $@

.venv/project.done: .venv/lock.done pyproject.toml
	@$(BIN)/python -m pip install -qq --no-input --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

# One lock for Python 3.11 and 3.12 on Linux x86_64: the two resolve alike. Releases younger than a week are left out.
# Needs uv. torch and torchvision are a pair, raised together.
lock:
	@uv pip compile pyproject.toml --extra dev --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--exclude-newer '1 week' --generate-hashes --upgrade --constraint <(echo torch==2.14.1; echo torchvision==0.29.1) \
		--no-annotate --custom-compile-command 'make lock' --quiet --output-file requirements.lock

demo: setup
	@$(BIN)/ecamp-fast demo

worth: setup
	@$(BIN)/ecamp-fast worth $(ARGS)

downstream: setup
	@$(BIN)/python tests/downstream/worth/run.py $(ARGS)

knowledge: setup
	@$(BIN)/python tests/knowledge/run.py $(ARGS)

test: setup
	@$(BIN)/pytest $(ARGS)

# What a user does on the first day; ARGS names some: `make journeys ARGS='own_csv report'`. First day itself: ARGS=first_day.
journeys: setup
	@cd tests && ../$(BIN)/python -m journeys.run $(ARGS)

# What `make test` leaves out, since it takes longer: run them before a release.
trainer: setup
	@$(BIN)/pytest --complete tests/training tests/run tests/attend tests/test_python_surface.py tests/bench/test_scaling.py \
		tests/bench/test_train.py $(ARGS)

# Two halves side by side, since most of it waits. How long the whole takes is kept for `make fault-docs`.
faults: setup
	@mkdir -p build; began=$$SECONDS; \
		$(MAKE) --no-print-directory --jobs=2 --output-sync=target faults-of-runs faults-of-data; \
		$(if $(strip $(ARGS)),,echo $$((SECONDS - began)) > build/faults-seconds)

faults-of-runs: setup
	@$(BIN)/pytest --complete tests/run/checkpoint tests/run/safety $(ARGS)

faults-of-data: setup
	@$(BIN)/pytest --complete tests/faults tests/shards/builder/test_resume.py tests/shards/sources/test_mimic_cxr.py \
		tests/soak $(ARGS)

# docs/faults.md from the catalogue, the tests and the figures of `make soak`.
fault-docs: setup
	@$(BIN)/python tests/faults/write_docs.py $(ARGS)

# docs/reference.md from the commands, and the keys that a shell completes.
reference: setup
	@$(BIN)/python tests/commands/write_reference.py $(ARGS)

# Figures go to tests/soak/results.json, and are committed by hand.
soak: setup
	@$(BIN)/python tests/soak/run.py $(ARGS)

mutants: setup
	@$(BIN)/python tests/mutants/run.py $(ARGS)

# Other ones for every commit, without a first run of their tests: the suite comes beside it.
mutants-sample: setup
	@$(BIN)/python tests/mutants/run.py --no-baseline --seconds 130 --sample "$$(git rev-parse HEAD)"

check: setup
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint fast-tests

lint: setup checked-tree
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@cd $(CHECKED) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p ecamp_fast
	@cd $(CHECKED) && $(CURDIR)/$(BIN)/lint-imports --no-logo --config $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.import_linter_cache

fast-tests: setup
	@$(BIN)/pytest -q -m 'not slow and not gpu' $(ARGS)

bench: setup
	@$(BIN)/ecamp-fast bench

wheel: setup
	@$(BIN)/python .ci/wheel.py dist

# Nothing in the pages is loaded from elsewhere. A link that leads nowhere ends the build; --quiet would let it pass.
site: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo 'build/site/index.html: written'

# Nothing but names and versions of packages is sent.
audit: setup
	@$(BIN)/python .ci/audit.py

# The package as a wheel lays it out: kernels/, shards/ and bench/ inside ecamp_fast/, with the __init__.py that they must
# not have in the repository. Type checker and import contracts see the three folders only this way.
checked-tree:
	@rm -rf $(CHECKED)
	@mkdir -p $(CHECKED)
	@cp -rp ecamp_fast $(CHECKED)/
	@rm -f $(CHECKED)/ecamp_fast/{kernels,shards,bench} # of `make links`
	@cp -rp kernels shards bench $(CHECKED)/ecamp_fast/
	@find $(CHECKED)/ecamp_fast -name __pycache__ -prune -exec rm -rf {} +
	@find $(CHECKED)/ecamp_fast/{kernels,shards,bench} -type d -exec touch {}/__init__.py ';'

# For editors and type checkers in the tree: CONTRIBUTING.md.
links:
	@for folder in kernels shards bench; do ln -sfn ../$$folder ecamp_fast/$$folder; done

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find ecamp_fast kernels shards bench tests -name __pycache__ -prune -exec rm -rf {} +
