# Every target is self-sufficient: it sets up what it needs on a machine that has only Python >= 3.11, make and a C compiler.
PYTHON ?= python3
BIN := .venv/bin
GEN := .venv-gen/bin

.PHONY: setup demo test test-slow bench bench-gpu check format protos release clean

setup: .venv/.ready
.venv/.ready: pyproject.toml clients/python/pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e clients/python -e '.[dev]'
	touch $@

.venv-gen/.ready: clients/requirements-generate.txt
	$(PYTHON) -m venv .venv-gen
	$(GEN)/python -m pip install --quiet --disable-pip-version-check -r clients/requirements-generate.txt
	touch $@

demo: setup
	$(BIN)/liftos-bayes demo

# Two processes, and a file in one of them: what its tests share is made once.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -m slow

.venv-bench/.ready: pyproject.toml clients/python/pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e clients/python -e '.[dev,bench]'
	touch $@

# For an idle machine: about 70 minutes on 2 cores. PARTS names some of the parts only, OPTIONS="--quick" tries them out.
bench: .venv-bench/.ready
	.venv-bench/bin/python -m tests.bench $(OPTIONS) $(PARTS)

# On a machine with a GPU; the rivals are measured on its CPU by `make bench`.
bench-gpu: .venv-bench/.ready
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'jax[cuda13]'
	.venv-bench/bin/python -m tests.bench $(OPTIONS) throughput single gradient scaling precision

check: setup .venv-gen/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against protos/released.binpb
	$(BIN)/python clients/release.py
	$(BIN)/python clients/drift.py $(GEN)/python

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format -w

protos: setup .venv-gen/.ready
	$(GEN)/python clients/generate.py
	$(BIN)/python clients/sync.py

# The version of server, client and contract, and the image that later contracts may not break: VERSION=x.y.z.
release: setup
	$(BIN)/python clients/release.py --version '$(VERSION)'

clean:
	rm -rf .venv .venv-bench .venv-gen .demo .bench
