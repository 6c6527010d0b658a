# make demo        real jobs, followed by a real Airflow, in about two minutes
# make standalone  the same, and Airflow's UI stays open
# make test        the tests, on the newest Airflow
# make test-faults the matrix of faults with its slow cells; writes docs/faults.md
# make test-matrix checks and tests on Airflow 3.1 and on the newest
# make check-next  types and tests on the newest pre-release of Airflow
# make dist-check  builds what is published, and checks it in a clean environment
# make docs        builds the documentation site in site/
# make benchmarks  an environment for the scripts in benchmarks/, in .venv-benchmarks
# make browser     installs Chromium for the tests of the page "HPC jobs" (Debian)
# make slurm       a private Slurm for the tests that want one (Debian; make slurm-stop ends it)

PYTHON ?= python3
NEWEST := 3.3
OLDEST := 3.1
NEXT := 3.4.0b2
SLURM_DIR := $(CURDIR)/.slurm
# Tests that share an Airflow or a Slurm stay together (tests/conftest.py), and wait for it most of the time.
PYTEST_ARGS ?= -n 4 --dist loadgroup

# Where make slurm has started one, the tests find it.
ifneq ($(wildcard $(SLURM_DIR)/slurm.conf),)
export SLURM_CONF ?= $(SLURM_DIR)/slurm.conf
endif

# Where it is set, each of some hundred processes compiles the package and the tests anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo standalone environments test test-faults test-matrix check-next dist-check benchmarks docs browser \
        slurm slurm-stop constraints clean

demo: .venv/installed
	.venv/bin/python -m demo

standalone: .venv/installed
	.venv/bin/python -m demo --stay --port 8080

test: .venv/installed
	.venv/bin/python -m pytest $(PYTEST_ARGS)

test-faults: .venv/installed
	FAULTS_TABLE=docs/faults.md .venv/bin/python -m pytest $(PYTEST_ARGS) -m '' tests/faults

environments: .venv/installed .venv-$(OLDEST)/installed

test-matrix: check-$(OLDEST) check-$(NEWEST)

# make test-faults runs these, on the newest: on both, they would take a quarter of an hour.
check-$(OLDEST) check-$(NEWEST): PYTEST_ARGS += --ignore=tests/faults

# What must be green on a version of Airflow: types, style, tests.
check-%: .venv-%/installed
	.venv-$*/bin/ruff check .
	.venv-$*/bin/ruff format --check .
	.venv-$*/bin/codespell
	.venv-$*/bin/mypy
	.venv-$*/bin/python -m pytest $(PYTEST_ARGS)

# What the next version of Airflow will break: types, imports and tests on its newest pre-release, unpinned.
# Left out: tests of code that does not import Airflow, and those that take long.
check-next:
	rm -rf .venv-next && $(PYTHON) -m venv .venv-next
	.venv-next/bin/python -m pip install -q --upgrade pip
	.venv-next/bin/python -m pip install -q 'apache-airflow>=$(NEXT)' -e '.[dev]'
	.venv-next/bin/mypy
	.venv-next/bin/python -m pytest $(PYTEST_ARGS) \
	  $(addprefix --ignore=tests/,apis docs emulator events faults live outcomes packaging polling test_exit_code.py) \
	  --ignore-glob='tests/hooks/test_[!c]*' --ignore=tests/operators/test_log_memory.py

# Check that source distribution and wheel are complete, accepted by a package index, and work in a clean environment.
dist-check:
	rm -rf dist .venv-dist && $(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip install -q build twine
	.venv-dist/bin/python -m build
	.venv-dist/bin/python -m twine check --strict dist/*
	$(PYTHON) tests/packaging/complete.py dist/*.tar.gz
	rm -rf .venv-dist && $(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip install -q -c constraints/airflow-$(NEWEST).txt dist/*.whl
	.venv-dist/bin/python -I -W error tests/packaging/installed.py README.md

.venv/installed: pyproject.toml constraints/airflow-$(NEWEST).txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q --upgrade pip
	.venv/bin/python -m pip install -q -c constraints/airflow-$(NEWEST).txt -e '.[dev]'
	touch $@

# What make demo and make test use is the newest.
.venv-$(NEWEST)/installed: .venv/installed
	rm -rf .venv-$(NEWEST) && ln -s .venv .venv-$(NEWEST)

.venv-%/installed: pyproject.toml constraints/airflow-%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install -q --upgrade pip
	.venv-$*/bin/python -m pip install -q -c constraints/airflow-$*.txt -e '.[dev]'
	touch $@

# What `python -m benchmarks.…` needs: the providers that we are measured beside.
benchmarks: .venv-benchmarks/installed

.venv-benchmarks/installed: pyproject.toml constraints/benchmarks.txt
	$(PYTHON) -m venv .venv-benchmarks
	.venv-benchmarks/bin/python -m pip install -q --upgrade pip
	.venv-benchmarks/bin/python -m pip install -q -c constraints/benchmarks.txt -e '.[dev,benchmarks]'
	touch $@

# The build reads the package without importing it: .venv-docs has no Airflow. The variables turn off advertisements.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true .venv-docs/bin/mkdocs build --strict

.venv-docs/installed: constraints/docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install -q -r constraints/docs.txt
	touch $@

slurm:
	command -v slurmctld >/dev/null || sh tests/slurm/cluster.sh install
	sh tests/slurm/cluster.sh start $(SLURM_DIR)

# Without a browser, the tests of the page "HPC jobs" are skipped.
browser:
	command -v chromium >/dev/null || { apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium fonts-noto-cjk; }

slurm-stop:
	sh tests/slurm/cluster.sh stop $(SLURM_DIR)

# Writes down what a new environment gets today on each version of Airflow.
constraints: constraints-$(OLDEST) constraints-$(NEWEST)
	rm -rf .venv-new && $(PYTHON) -m venv .venv-new
	.venv-new/bin/python -m pip install -q 'apache-airflow==$(NEWEST).*' -e '.[dev,benchmarks]'
	( head -1 constraints/benchmarks.txt; .venv-new/bin/python -m pip freeze --exclude-editable \
	  | grep -v ' @ ' | sort -f ) > .venv-new/constraints
	mv .venv-new/constraints constraints/benchmarks.txt && rm -rf .venv-new

constraints-%:
	rm -rf .venv-new && $(PYTHON) -m venv .venv-new
	.venv-new/bin/python -m pip install -q 'apache-airflow==$*.*' -e '.[dev]'
	( head -1 constraints/airflow-$*.txt; .venv-new/bin/python -m pip freeze --exclude-editable \
	  | grep -v ' @ ' | sort -f ) > .venv-new/constraints
	mv .venv-new/constraints constraints/airflow-$*.txt && rm -rf .venv-new

clean:
	rm -rf .venv .venv-* .demo
