# Paths here are relative and quoted, so that the project may lie under a name with a space.
# The set-up takes PYTHON=/path/to/python for another Python, and UV= for pip where uv is present.

.DEFAULT_GOAL := help
VENV_PYTHON := .venv/bin/python

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: setup ## Train, export, index and search emoji, and look at demo/report.html
	@npm --version >/dev/null 2>&1 || $(VENV_PYTHON) -m pip install -qq --requirement requirements-node.txt
	@$(VENV_PYTHON) -m examples.demo

.PHONY: serve
serve: setup ## Serve the demo's index and open its page; PORT=8000, after make demo
	@$(VENV_PYTHON) -m examples.serve

# Settings of the container targets, from the environment or after make: DATA=/my/folder make notebook
export DATA LABELED_DATA IMAGE_DIR KERAS_MODEL PORT
IN_DOCKER := sh tools/docker.sh

.PHONY: build-cpu
build-cpu: ## Build the image siamese:cpu
	@$(IN_DOCKER) build cpu

.PHONY: build-gpu
build-gpu: ## Build the image siamese:gpu, for NVIDIA GPUs
	@$(IN_DOCKER) build gpu

.PHONY: notebook
notebook: ## Train in JupyterLab on the GPU; DATA=/my/folder is its /data, PORT=8888 its port
	@$(IN_DOCKER) notebook gpu

.PHONY: notebook-cpu
notebook-cpu: ## The same without a GPU
	@$(IN_DOCKER) notebook cpu

.PHONY: bash-cpu
bash-cpu: ## A shell in the container, in this folder: python utilities.py, siamese; DATA=
	@$(IN_DOCKER) bash cpu

.PHONY: bash-gpu
bash-gpu: ## The same with the GPU
	@$(IN_DOCKER) bash gpu

.PHONY: index-cpu
index-cpu: ## Index DATA; LABELED_DATA=/data/items.json, IMAGE_DIR=, KERAS_MODEL=
	@$(IN_DOCKER) index cpu

.PHONY: index-gpu
index-gpu: ## The same on the GPU
	@$(IN_DOCKER) index gpu

.PHONY: test-docker
test-docker: setup ## Build siamese:cpu and try in containers what is said of it
	@$(IN_DOCKER) test cpu
	SIAMESE_IMAGE=siamese:cpu $(VENV_PYTHON) -m pytest tests/docker

.PHONY: notebook-execute
notebook-execute: setup ## Make the notebook of its script and run it on the emoji: 15 minutes
	$(VENV_PYTHON) -m tools.make_notebook

.PHONY: test
test: lint ## Run every check: make lint, then the tests, in two processes
	$(VENV_PYTHON) -m pytest --numprocesses 2 --dist loadfile

.PHONY: test-long
test-long: setup ## What make test leaves out: the page in a browser, kills, thousands of broken uploads
	$(VENV_PYTHON) -m pytest -m long

.PHONY: lint
lint: setup ## Check style and types, without running anything
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy
	.venv/bin/lint-imports

.PHONY: format
format: setup ## Bring the code into the style that make lint asks for
	$(VENV_PYTHON) -m ruff check --fix
	$(VENV_PYTHON) -m ruff format

.PHONY: setup
setup: ## Make .venv with all that is needed; targets that need it do so themselves
	@sh tools/setup.sh

# Versions already pinned stay; delete requirements*.txt first to move all to the newest.
PIN := $(VENV_PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest

.PHONY: requirements
requirements: setup ## Pin what pyproject.toml asks for in requirements*.txt
	$(PIN) pyproject.toml --extra notebook --extra remote --output-file requirements.txt
	$(PIN) pyproject.toml --extra notebook --extra remote --extra gpu --constraint requirements.txt \
		--no-annotate --output-file requirements-gpu.txt
	$(PIN) pyproject.toml --extra notebook --extra remote --group dev --constraint requirements.txt \
		--no-annotate --output-file requirements-dev.txt
	$(PIN) --group node --output-file requirements-node.txt

.PHONY: clean
clean: ## Remove what make made: .venv, caches and demo/
	rm -rf .venv build demo *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find siamese examples tests -name __pycache__ -type d -prune -exec rm -rf {} +
