# make run     a face that talks, in the browser (makes .venv first)
# make setup-train   what `splatface train` needs besides
# make test    all checks that CI runs
# make lint    ruff and mypy
SOURCE ?=
ARGS ?=
PYTHON ?= python3
export AMENT_PREFIX_PATH := $(CURDIR)/.venv
export PYTHON

.PHONY: run setup setup-train setup-test test lint clean

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

lint: setup-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean:
	rm -rf .venv build install log .pytest_cache .mypy_cache .ruff_cache *.egg-info
