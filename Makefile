# make demo     sets up what a bare Debian or Ubuntu machine lacks, and shows the main job
# make test     sets up likewise, and runs the tests (short; make soak for hours)
# make test-cluster   the same tests on a FoundationDB cluster, and those only a cluster can do
# make check    linters and types
# make bench    figures beside stock SQLite
# make soak     the crash, model and concurrency tests for SECONDS each (default 3600)
#
# ARGS= goes to pytest: make soak ARGS=--store=fdb, make test ARGS="-k kill"

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
SECONDS ?= 3600

PACKAGES := gcc clang libc6-dev make liblmdb-dev libzstd-dev libxxhash-dev libsqlite3-dev $(PYTHON_PACKAGES)
# The system's own Python comes in pieces; one built by hand is whole.
PYTHON_PACKAGES := $(shell $(PYTHON) -c 'import ensurepip, sysconfig, pathlib; exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' 2>/dev/null || echo python3 python3-dev python3-venv)
# Programs that know nothing of us, for the tests to run.
TEST_PACKAGES := chromium nginx-light sqlite3 php-cli php-sqlite3 ruby-sqlite3 libdbd-sqlite3-perl musl-tools libcap2-bin
# Whole applications, for the same; those that a system does not have are left out, and their tests say so.
TEST_APPLICATIONS := fossil subversion newsboat php-fpm php-mbstring php-xml php-intl php-laravel-framework mediawiki systemd-container openssh-server nftables iproute2 python3-venv
SOURCES := $(wildcard native/*/*.[ch] native/*/*.map native/*.h native/*.py) pyproject.toml setup.py

.PHONY: demo test test-cluster test-setup check bench soak setup packages applications clean

test test-cluster test-setup soak: PACKAGES += $(TEST_PACKAGES)

demo: setup
	$(RUN) -m mvsqlite_py._demo

test: test-setup
	$(RUN) -m pytest $(ARGS)

test-cluster: test-setup
	$(RUN) -m pytest --store=fdb $(ARGS)

check: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: setup
	$(RUN) -m benchmarks.run_all

soak: test-setup
	$(RUN) -m pytest tests/crash tests/model tests/faults tests/conformance tests/extension tests/cluster --soak $(SECONDS) $(ARGS)

test-setup: setup applications

setup: packages $(VENV)/installed

packages:
	@missing=""; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  echo "Installing system packages:$$missing"; \
	  if [ "$$(id -u)" = 0 ]; then as=""; else as="sudo"; fi; \
	  $$as apt-get update -q && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -q -y $$missing; \
	fi

applications: packages
	@missing=""; for p in $(TEST_APPLICATIONS); do \
	  dpkg -s $$p >/dev/null 2>&1 || ! apt-cache show $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  echo "Installing applications for the tests:$$missing"; \
	  if [ "$$(id -u)" = 0 ]; then as=""; else as="sudo"; fi; \
	  $$as env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing \
	    || echo "They cannot be installed: their tests are skipped"; \
	fi

$(VENV)/installed: $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=")'
	@echo "Building the C core and installing into $(VENV)"
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q --disable-pip-version-check -U pip
	$(RUN) -m pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info mvsqlite_py/*.so mvsqlite_py/_native.c
