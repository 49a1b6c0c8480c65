# make engine TARGET=host     set up (once), then network in, engine and report out
# make test                   set up (once), then lint, types and tests

TARGET ?= host
RECIPE ?= recipes/digits.toml
DEVICE ?=
SET ?=
AUDIT ?=

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: help engine plan test test-all lint lock audit docs site clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile | head -2
	@echo "targets: nano xavier orin-nano orin-nx agx-orin thor rtx host   (all: jetpress targets)"

engine: $(READY)
	@$(BIN)/jetpress run $(RECIPE) --target $(TARGET) $(if $(DEVICE),--device $(DEVICE)) $(foreach s,$(SET),--set $(s))

plan: $(READY)
	@$(BIN)/jetpress plan $(RECIPE) --target $(TARGET) $(if $(DEVICE),--device $(DEVICE)) $(foreach s,$(SET),--set $(s))

test: lint
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not hardware"

test-all: lint
	$(BIN)/pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv runs

# Everything at the versions of requirements.lock, with their hashes. uv is quicker; plain pip does as well. All that
# a run imports is imported once: what is broken is seen here, and bytecode is there for a Python that may write none.
$(READY): requirements.lock setup.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "jetpress needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 3; }
	@echo "setting up .venv: PyTorch with CUDA and what goes with it, about 3 GB to download and 6 GB on disk;"
	@echo "on a fast connection 1 to 3 minutes. This happens once."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r setup.lock || true
	@if [ -x $(BIN)/uv ]; then \
	  VIRTUAL_ENV=.venv $(BIN)/uv pip install --require-hashes -r requirements.lock && \
	  VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable . ; \
	else \
	  $(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . ; \
	fi
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c "$(IMPORTS)"
	@touch $@
	@echo "set up."

IMPORTS := import importlib, pkgutil, jetpress.pipeline.stages as s, torch._dynamo, torch.onnx._internal.exporter._core; \
  [importlib.import_module(m.name) for m in pkgutil.iter_modules(s.__path__, s.__name__ + '.')]

# The lock, for every platform and Python that we support (with hashes, without registry addresses).
lock:
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 --extra rtx --extra timm --group dev pyproject.toml --output-file requirements.lock
	@for one in setup audit; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
	    --python-version 3.11 $$one.in --output-file $$one.lock; done
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.12 --constraint requirements.lock docker/jupyter.in --output-file docker/jupyter.lock
	@sed '/^python-dateutil==/,/[^\\]$$/d' requirements.lock > docker/ray.constraints # s3fs wants an older one
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.12 --constraint docker/ray.constraints docker/ray.in --output-file docker/ray.lock
	@rm docker/ray.constraints

# What all of this is made of and under which licences, and what is known against it: audit/ (docs/supply-chain.md).
# AUDIT: more of pip-audit's options, such as another service.
audit: $(READY)
	@mkdir -p audit
	@test -x audit/venv/bin/python || $(BIN)/uv venv --quiet audit/venv
	@$(BIN)/uv pip install --quiet --python audit/venv --require-hashes -r audit.lock
	audit/venv/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible \
	  --output-file audit/sbom.json
	$(BIN)/python -m docs.licences > audit/licences.txt
	@for lock in requirements setup audit docker/jupyter docker/ray; do \
	  echo "pip-audit: $$lock.lock"; mkdir -p audit/$$(dirname $$lock); \
	  audit/venv/bin/pip-audit --requirement $$lock.lock --require-hashes --disable-pip $(AUDIT) \
	    --output audit/$$lock.vulnerabilities.txt || failed=1; done; test -z "$$failed"

# docs/recipe.md and docs/recipe.schema.json, from pipeline/recipe/sections/.
docs: $(READY)
	$(BIN)/python -m docs.generate

# docs/ as a site, in site/; a link that leads nowhere is an error.
site: $(READY)
	$(BIN)/python -m mkdocs build --strict --quiet
