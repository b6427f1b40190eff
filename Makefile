# All paths are relative, so that the project's folder may have a space in its name.
# For setup, PYTHON=/path/to/python chooses the Python, and UV= chooses pip over uv.

.DEFAULT_GOAL := help
VENV_PYTHON := .venv/bin/python

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: setup ## Train, export, index and search emoji; the result is demo/report.html
	@npm --version >/dev/null 2>&1 || $(VENV_PYTHON) -m pip install -qq --requirement requirements-node.txt
	@$(VENV_PYTHON) -m examples.demo

.PHONY: serve
serve: setup ## Serve the index of make demo and open its web page; PORT=8000
	@$(VENV_PYTHON) -m examples.serve

# Settings of the container targets: DATA=/my/folder make notebook
export DATA LABELED_DATA IMAGE_DIR KERAS_MODEL PORT
IN_DOCKER := sh tools/docker.sh

.PHONY: build-cpu
build-cpu: ## Build the Docker image siamese:cpu
	@$(IN_DOCKER) build cpu

.PHONY: build-gpu
build-gpu: ## Build the Docker image siamese:gpu for NVIDIA GPUs
	@$(IN_DOCKER) build gpu

.PHONY: notebook
notebook: ## Train in JupyterLab on the GPU; DATA=/my/folder becomes /data, PORT=8888
	@$(IN_DOCKER) notebook gpu

.PHONY: notebook-cpu
notebook-cpu: ## Train in JupyterLab on the CPU
	@$(IN_DOCKER) notebook cpu

.PHONY: bash-cpu
bash-cpu: ## Open a shell in the CPU container; DATA=/my/folder becomes /data
	@$(IN_DOCKER) bash cpu

.PHONY: bash-gpu
bash-gpu: ## Open a shell in the GPU container
	@$(IN_DOCKER) bash gpu

.PHONY: index-cpu
index-cpu: ## Index the pictures in DATA; LABELED_DATA=/data/items.json, IMAGE_DIR=, KERAS_MODEL=
	@$(IN_DOCKER) index cpu

.PHONY: index-gpu
index-gpu: ## Index the pictures in DATA on the GPU
	@$(IN_DOCKER) index gpu

.PHONY: test-docker
test-docker: setup ## Build siamese:cpu and test it in containers
	@$(IN_DOCKER) test cpu
	SIAMESE_IMAGE=siamese:cpu $(VENV_PYTHON) -m pytest tests/docker

.PHONY: notebook-execute
notebook-execute: setup ## Build the notebook from its script and run it on the emoji; takes 15 minutes
	$(VENV_PYTHON) -m tools.make_notebook

.PHONY: test
test: lint ## Run make lint, then the tests in three processes
	$(VENV_PYTHON) -m pytest --numprocesses 3 --dist loadfile

.PHONY: test-long
test-long: setup ## Run the long tests that make test omits: the page in a browser, killed processes, fuzzing
	$(VENV_PYTHON) -m pytest -m long

.PHONY: lint
lint: setup ## Check style, types and imports
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy
	.venv/bin/lint-imports

.PHONY: docs
docs: setup ## Build the documentation in build/site, and docs/command-line.md from the commands
	$(VENV_PYTHON) -m tools.make_command_line_page
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict

.PHONY: format
format: setup ## Format the code and fix its style
	$(VENV_PYTHON) -m ruff check --fix
	$(VENV_PYTHON) -m ruff format

.PHONY: setup
setup: ## Create .venv with all requirements; the other targets do this when needed
	@sh tools/setup.sh

# Keeps the pinned versions; delete requirements*.txt first to update them all.
PIN := $(VENV_PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest

.PHONY: requirements
requirements: setup ## Pin the dependencies of pyproject.toml in requirements*.txt
	$(PIN) pyproject.toml --extra notebook --extra remote --output-file requirements.txt
	$(PIN) pyproject.toml --extra notebook --extra remote --extra gpu --constraint requirements.txt \
		--no-annotate --output-file requirements-gpu.txt
	$(PIN) pyproject.toml --extra notebook --extra remote --group dev --constraint requirements.txt \
		--no-annotate --output-file requirements-dev.txt
	$(PIN) --group node --output-file requirements-node.txt

.PHONY: clean
clean: ## Delete .venv, caches and demo/
	rm -rf .venv build demo *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find siamese examples tests -name __pycache__ -type d -prune -exec rm -rf {} +
