# Paths here are relative and quoted, so that the project may lie under a name with a space.
# The set-up takes PYTHON=/path/to/python for another Python, and UV= for pip where uv is present.

.DEFAULT_GOAL := help
VENV_PYTHON := .venv/bin/python

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: setup ## Train, export, index and search a real catalogue of emoji; look at demo/report.html
	@npm --version >/dev/null 2>&1 || $(VENV_PYTHON) -m pip install -qq --requirement requirements-node.txt
	@$(VENV_PYTHON) -m examples.demo

.PHONY: test
test: lint ## Run every check: make lint, then the tests
	$(VENV_PYTHON) -m pytest

.PHONY: lint
lint: setup ## Check style and types, without running anything
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy

.PHONY: format
format: setup ## Bring the code into the style that make lint asks for
	$(VENV_PYTHON) -m ruff check --fix
	$(VENV_PYTHON) -m ruff format

.PHONY: setup
setup: ## Make .venv with all that is needed; the targets that need it do so themselves
	@sh tools/setup.sh

# Versions already pinned stay; delete requirements*.txt first to move all to the newest.
PIN := $(VENV_PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest

.PHONY: requirements
requirements: setup ## Pin what pyproject.toml asks for in requirements.txt, -dev.txt and -node.txt
	$(PIN) pyproject.toml --extra notebook --output-file requirements.txt
	$(PIN) pyproject.toml --extra notebook --group dev --constraint requirements.txt \
		--no-annotate --output-file requirements-dev.txt
	$(PIN) --group node --output-file requirements-node.txt

.PHONY: clean
clean: ## Remove what make made: .venv, caches and demo/
	rm -rf .venv build demo *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find siamese examples tests -name __pycache__ -type d -prune -exec rm -rf {} +
