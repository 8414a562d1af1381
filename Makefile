# Commands of the project. `make` alone makes .venv; `make help` lists the others.
.DEFAULT_GOAL := venv
.NOTPARALLEL:
.PHONY: venv servers browser breakers peers machine demo test check bench faults screens lock clean help

PYTHON ?= python3
BIN := .venv/bin
CODE := drivers conference edge_agent
# Debian package:command. Real servers, and for the tests a real browser; demo and tests start them by themselves.
SERVERS := mosquitto:mosquitto influxdb:influxd influxdb-client:influx victoria-metrics:victoria-metrics
BROWSER := chromium:chromium
# A file system in user space and a tracer for the faults of the disk, nft for those of the network, a terminal for the technician.
FAULTS := fuse3:fusermount3 strace:strace nftables:nft tmux:tmux
# A virtual machine whose power can be cut, its kernel by tools/kernel.sh.
MACHINE := qemu-system-x86:qemu-system-x86_64 busybox-static:busybox dmsetup:dmsetup e2fsprogs:mkfs.ext4
# Other makers' WebRTC, which sends to a meeting, and what a library is made with that one lacks; without them those tests are skipped.
PEERS := simple-whip-client:whip-client gcc:cc python3-gi gir1.2-gst-plugins-bad-1.0 gstreamer1.0-plugins-bad gstreamer1.0-plugins-good gstreamer1.0-nice

export PYTHON
# The servers are in /usr/sbin, which Debian leaves out of an ordinary user's PATH.
export PATH := $(PATH):/usr/sbin:/sbin
# uv trusts the machine's certificates, as pip does: some networks have their own.
export UV_SYSTEM_CERTS := 1
unexport PYTHONDONTWRITEBYTECODE VIRTUAL_ENV

.venv/.made: pyproject.toml uv.lock requirements.txt tools/venv.sh
	@tools/venv.sh

venv: .venv/.made  ## .venv with everything the project needs, as locked
	@$(BIN)/python -m compileall -q $(CODE)

servers:
	@tools/debian.sh $(SERVERS)

browser:
	@tools/debian.sh $(BROWSER)

breakers:
	@tools/debian.sh $(FAULTS)

peers:
	@tools/debian.sh $(PEERS)

machine:
	@tools/debian.sh $(MACHINE)
	@tools/kernel.sh .machine

demo: venv servers  ## a ward's box on this machine, without hardware; DEMO_SECONDS=30 ends it by itself
	@$(BIN)/edge demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

# Most tests wait for something: three at a time keep two cores just busy.
test: venv servers browser breakers peers  ## all tests, on real servers and in a real browser
	$(BIN)/pytest -n 3 --dist loadgroup -m "not faults" -rs

check: venv  ## format, types, layers, docs, service units, lock file: what each change must pass
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --explicit-package-bases $(CODE) tests bench
	tools/lock.sh --check
	$(BIN)/pytest -rs tests/test_layers.py tests/test_units.py tests/test_docs.py tests/test_languages.py

bench: venv servers  ## speed and size, as a table of ratios
	$(BIN)/python -m bench

faults: venv servers browser breakers peers machine  ## long fault and soak runs, scaled to 30 minutes; FAULT_SCALE=1 for the full figures
	$(BIN)/pytest -m "faults and alone" --timeout 1800 -rsP; alone=$$?; \
	$(BIN)/pytest -n 3 --dist loadgroup -m "faults and not alone" --timeout 1800 -rsP && exit $$alone

screens: venv browser  ## docs/screens anew: pictures of every screen of the page, for people to look at
	$(BIN)/python -m tests.conference.screens

lock: venv  ## uv.lock and requirements.txt anew, after a change of dependencies in pyproject.toml
	tools/lock.sh

clean:  ## remove what make made; Debian packages stay
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis .machine
	find . -name __pycache__ -prune -exec rm -rf {} +

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' Makefile
