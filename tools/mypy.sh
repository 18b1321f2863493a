#!/usr/bin/env bash
# mypy sees the folders under their installed names through a tree of links.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/mypy/splatface
for folder in models nodes launch; do ln -sfn "$PWD/$folder" "build/mypy/splatface/$folder"; done
cd build/mypy
MYPYPATH=$PWD ../../.venv/bin/mypy --config-file ../../pyproject.toml "${@:---package=splatface}"
