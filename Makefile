# make run     a face that talks, in the browser (makes .venv first)
# make setup-train   what `splatface train` needs besides
# make test    all checks that CI runs
# make test-fast   the tests that take no ROS process, browser or training: under two minutes
# make lint    ruff and mypy
SOURCE ?=
ARGS ?=
PYTHON ?= python3
export AMENT_PREFIX_PATH := $(CURDIR)/.venv
export PYTHON

.PHONY: run setup setup-train setup-test test test-fast lint clean

run: setup
	@.venv/bin/splatface run $(if $(SOURCE),--source "$(SOURCE)") $(ARGS)

setup:
	@tools/setup.sh

setup-train:
	@tools/setup.sh train

setup-test:
	@tools/setup.sh test

test: setup-test
	@.venv/bin/python -m pytest $(ARGS)

test-fast: setup-test
	@.venv/bin/python -m pytest -m "not slow and not graph and not sound and not gpu" $(ARGS)

lint: setup-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean:
	rm -rf .venv build install log .pytest_cache .mypy_cache .ruff_cache *.egg-info
