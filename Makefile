# Each target does its own set-up: a virtual environment in .venv, then what it needs.
PYTHON ?= python3
# The release that the suite and the README's figures were run with.
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: demo test test-speechbrain check docs clean

demo: .venv/demo
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		examples/run_glue.py --loss square

test: .venv/dev check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

# SpeechBrain needs torchaudio, which loads only beside the build of torch that pip chooses for it: an environment apart.
test-speechbrain: .venv-speechbrain/installed
	OMP_NUM_THREADS=1 .venv-speechbrain/bin/pytest tests/speechbrain

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/dev
	$(BIN)/python benchmarks/render_results.py

.venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet --editable ".[$*]"
	touch $@

.venv-speechbrain/installed: pyproject.toml
	test -x .venv-speechbrain/bin/python || $(PYTHON) -m venv .venv-speechbrain
	.venv-speechbrain/bin/pip install --quiet --editable ".[speechbrain]" "pytest>=8.3" "pytest-timeout>=2.3"
	touch $@

clean:
	rm -rf .venv .venv-speechbrain build dist *.egg-info outputs
