# Every target sets up what it needs: uv in .tools, the locked environment in .venv.
SHELL := /bin/bash
PYTHON ?= python3
UV := .tools/bin/uv
RUN := $(UV) run --frozen
# A process that starts compiles what it imports, a second for a server, unless the one before could keep it.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env demo serve test test-ceph test-ray lint soak bench docs clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv

.venv/.synced: $(UV) pyproject.toml uv.lock
	$(UV) sync --frozen --quiet --extra all
	@touch $@

env: .venv/.synced  ## make .venv with every extra, for development

demo: .venv/.synced  ## the main job on real data, embedded
	@$(RUN) headwater demo

LAKE ?= ./lake

serve: .venv/.synced  ## answer Milvus clients on 127.0.0.1:19530 from LAKE, ./lake by default
	@$(RUN) headwater serve --lake $(LAKE)

lint: .venv/.synced  ## ruff, mypy and the import contract
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports

test: lint  ## everything CI runs
	$(RUN) pytest -n auto --dist worksteal

test-ceph: .venv/.synced  ## the store suite and the main job on a real Ceph gateway, installed by apt
	$(RUN) pytest -m rgw

test-ray: .venv/.synced  ## computing on demand in a Ray cluster on this machine
	$(RUN) --extra ray pytest -m ray

soak: .venv/.synced  ## an hour of mixed load on a server
	SOAK_S=3600 $(RUN) pytest -m soak -s -o faulthandler_timeout=7200

bench: .venv/.synced  ## every claim, measured, beside the peers
	@for name in add_column ann build churn commit elements filtered freshness geo hybrid ingest isolation json_paths on_demand one_port quality random_read refresh scale server sparse split text tiers vectors; do echo "== $$name"; $(RUN) --group bench python bench/$$name.py --quick || exit 1; done

docs: .venv/.synced  ## build the documentation into site/
	$(RUN) python docs/reference.py
	$(RUN) python docs/serving.py
	$(RUN) python docs/pictures.py
	$(RUN) mkdocs build --strict --quiet

clean:  ## remove what the targets made
	rm -rf .venv site dist
