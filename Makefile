# Every target makes the environment first if it is missing.
VENV ?= .venv
PY = $(VENV)/bin/python
READY = $(VENV)/.ready
# Layout of the demo's data: nuscenes, semantic-kitti, drive-log or scannet.
DATA = nuscenes
# Threads that wait should sleep: on a busy machine, spinning ones cost many times the work.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: demo test check docs bench
demo: $(READY)  ## the whole path on the embedded world, into demo/; DATA=scannet and others into demo-scannet/
	$(VENV)/bin/clip2scene demo --data $(DATA)

test: $(READY)  ## the whole test suite
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(READY)  ## format, lint, layers, types
	$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check . && $(VENV)/bin/lint-imports --no-cache && $(VENV)/bin/mypy

docs: $(READY)  ## the documentation as a site that needs no network, into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

bench: $(READY)  ## speed of the sparse engine
	$(PY) benchmarks/sparse_engine.py

$(READY): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
