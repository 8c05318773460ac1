# Two commands do all on a fresh machine with Python 3.11+ and pip: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo demo-rerank test test-long check format wheel docs reliability mutants clean

demo: $(VENV)/.core  ## install the small core, then: draw, index, classify, show
	$(BIN)/lmm-classifier demo --output demo

demo-rerank: $(VENV)/.rerank  ## install the extra, then: a tiny trained Qwen2-VL reranks the shapes that it knows
	$(BIN)/python -m scripts.demo_rerank --output demo-rerank

test: $(VENV)/.dev  ## install everything, then run the tests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-long: $(VENV)/.dev  ## the slow tests, which `make test` leaves out, and all others on each Python version
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile -m long
	$(BIN)/python -m scripts.test_matrix

check: $(VENV)/.dev  ## format, lint, types, spelling
	scripts/check

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev  ## write the generated pages and files, then build the site of docs/ and check its links
	$(BIN)/python -m scripts.generate_docs
	$(BIN)/python -m benchmarks.tables
	$(BIN)/python -m scripts.build_site

wheel: $(VENV)/.dev  ## build the wheel and try it in an empty environment
	scripts/smoke_wheel

$(VENV)/.venv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/.venv
	$(PIP) --constraint constraints.txt --editable .
	touch $@

# torch comes first and alone: a range in another package would choose a build of several gigabytes
$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.venv
	$(PIP) torch==2.13.0
	$(PIP) --constraint constraints.txt --editable '.[all,dev]'
	touch $@ $(VENV)/.core

$(VENV)/.rerank: pyproject.toml constraints.txt | $(VENV)/.venv
	$(PIP) torch==2.13.0
	$(PIP) --constraint constraints.txt --editable '.[vlm]'
	touch $@ $(VENV)/.core

BADIMAGES ?= $(wildcard ../shared/badimages/badimages.tar.xz)
reliability: $(VENV)/.dev  ## try every fault: half an hour; prints a table, writes benchmarks/results/reliability.json
	$(BIN)/python -m benchmarks.fault_injection $(if $(BADIMAGES),--badimages $(BADIMAGES))

MUTANTS ?= 500
mutants: $(VENV)/.mutants  ## change the code that decides: its tests must notice; MUTANTS=all tries every change, for hours
	$(BIN)/python -m benchmarks.mutants --count $(MUTANTS)

$(VENV)/.mutants: pyproject.toml constraints.txt | $(VENV)/.dev
	$(PIP) --constraint constraints.txt --editable '.[mutants]'
	touch $@

clean:
	rm -rf $(VENV) .venvs dist build demo demo-rerank .mypy_cache .ruff_cache .pytest_cache .hypothesis
