# boringdb.ops: `make help` lists what there is. Everything a target needs, it installs.

# An account that is not root runs the databases, so as root the environment must not lie in root's home.
CACHE := $(if $(BORINGDB_CACHE),$(BORINGDB_CACHE),$(if $(filter 0,$(shell id -u)),/var/cache/boringdb,$(HOME)/.cache/boringdb))
export CACHE
PYTHON ?= $(if $(wildcard /usr/bin/python3),/usr/bin/python3,python3)
VENV := $(CACHE)/venv-$(shell cat requirements.txt | cksum | cut -d' ' -f1)
DEV := $(CACHE)/venv-dev-$(shell cat requirements.txt requirements-dev.txt | cksum | cut -d' ' -f1)
LAB := PYTHONPATH=$(CURDIR) $(DEV)/bin/python -m tests.lab
PYTEST := ANSIBLE_CONFIG=$(CURDIR)/ansible.cfg PATH=$(DEV)/bin:$(CACHE)/pgbouncer/usr/sbin:$(CACHE)/haproxy/usr/sbin:$$PATH $(DEV)/bin/python -m pytest
# Most of a test's time is waiting: two files at a time.
SPREAD := -n 2 --dist loadfile
# Their files share hosts, or want a machine without any other lab.
ALONE = adoption $(if $(BORINGDB_LAB_FULL),interruption) test_lab.py
ROOT_ONLY := test "$$(id -u)" = 0 || { echo "$@: needs root (network namespaces, systemd-nspawn)"; exit 1; }

.PHONY: help demo demo-clean test lint unit integration packages lab-up lab lab-full lab-down faults kills chaos bench docs import clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.complete ## A primary, a replica, a backup, a drill, a switchover, a kill with a failover, signed and reported
	@$(VENV)/bin/python tests/demo/demo.py up

demo-clean: ## Remove everything the demo made
	@$(PYTHON) tests/demo/demo.py down

# The lab waits for its hosts while the embedded tests have the processors.
test: lint unit ## Everything CI runs
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=line integration lab

lint: $(DEV)/.complete ## ruff, mypy, yamllint, ansible-lint, ansible-test sanity, documentation
	@DEV=$(DEV) CACHE=$(CACHE) tests/lint/run

packages:
	@CACHE=$(CACHE) tests/packages

unit: $(DEV)/.complete packages ## Unit tests
	$(PYTEST) $(SPREAD) tests/unit

integration: $(DEV)/.complete packages ## Tests on real embedded PostgreSQL, without root
	$(PYTEST) $(SPREAD) --no-loadscope-reorder tests/integration

lab-up: $(DEV)/.complete packages ## Boot the lab: real systemd hosts on this machine
	@$(ROOT_ONLY)
	$(LAB) up

lab: $(DEV)/.complete packages ## Tests on the lab's hosts (root); boots it and takes it down
	@$(ROOT_ONLY)
	$(PYTEST) $(SPREAD) tests/lab -m lab $(addprefix --ignore tests/lab/,$(ALONE))
	$(PYTEST) $(addprefix tests/lab/,$(ALONE)) -m lab
	ANSIBLE_CONFIG=$(CURDIR)/ansible.cfg PATH=$(DEV)/bin:$$PATH $(DEV)/bin/molecule test -s drill

lab-full: export BORINGDB_LAB_FULL = 1
lab-full: lab ## The same with what takes too long for every change

lab-down: ## Take the lab down; its caches stay
	@$(LAB) down

faults: $(DEV)/.complete packages ## Inject one fault at a time: each must fail on its own named check
	$(DEV)/bin/python -m tests.faults

kills: $(DEV)/.complete packages ## Kill playbooks at every task boundary: the same command again must finish the job
	PATH=$(DEV)/bin:$$PATH $(DEV)/bin/python -m tests.kills

chaos: $(DEV)/.complete packages ## Strike in the middle of switchovers and failovers: nothing may be lost, split, or stuck
	PATH=$(DEV)/bin:$(CACHE)/pgbouncer/usr/sbin:$$PATH $(DEV)/bin/python -m tests.chaos

bench: $(DEV)/.complete packages ## Figures as ratios against the same commands by hand, one JSON line each
	PATH=$(CACHE)/pgbouncer/usr/sbin:$$PATH $(DEV)/bin/python -m tests.bench

docs: $(DEV)/.complete ## Build the documentation site into build/docs
	@DEV=$(DEV) tests/lint/docs

import: $(DEV)/.complete ## Load the built collection with Galaxy's own importer and its linters
	@DEV=$(DEV) tests/lint/import

clean: demo-clean ## Remove what was built; the caches outside the tree stay
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .ansible .cache

# The names hold the checksum of what is in them: an older file of a second checkout must not rebuild what is in use.
$(VENV)/.complete:
	@$(call make_environment,$(VENV),-r requirements.txt)

$(DEV)/.complete:
	@$(call make_environment,$(DEV),-r requirements.txt -r requirements-dev.txt)

# Built beside nothing: the last step marks it complete, so that an interrupted install is begun again.
define make_environment
echo "installing into $(1)"; rm -rf $(1); mkdir -p $(CACHE); \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
  test "$$(id -u)" = 0 || { echo "python3-venv is missing: install it, or name another interpreter with PYTHON="; exit 1; }; \
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; }; \
$(PYTHON) -m venv $(1) && $(1)/bin/pip install --quiet --disable-pip-version-check $(2) && touch $(1)/.complete
endef
