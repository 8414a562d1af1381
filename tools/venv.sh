#!/bin/sh
# Makes .venv exactly as locked: with uv where it is installed, else with pip from requirements.txt. Both check hashes.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
unset PYTHONDONTWRITEBYTECODE VIRTUAL_ENV # compiled modules halve every start; another environment has no say here
UV_PROJECT_ENVIRONMENT=.venv
export UV_PROJECT_ENVIRONMENT

fail() {
    echo "make: $*" >&2
    exit 1
}

with_uv() {
    uv sync --frozen --all-groups --compile-bytecode --no-install-project
    # The project is built by the locked hatchling, not by one fetched for the occasion.
    uv sync --frozen --all-groups --compile-bytecode --no-build-isolation
}

with_pip() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; PYTHON=/path/to/python3 make chooses one"
    "$python" -c 'import ensurepip' 2>/dev/null || tools/debian.sh python3-venv 2>/dev/null || :
    "$python" -c 'import ensurepip' 2>/dev/null ||
        fail "$python cannot make virtual environments: sudo apt-get install python3-venv"
    .venv/bin/python -c '' 2>/dev/null || rm -rf .venv # left over from a Python that is gone, or half made
    "$python" -m venv .venv
    echo "make: installing $(grep -c == requirements.txt) packages with pip into .venv, a minute or two"
    pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install --quiet"
    $pip --compile --require-hashes --requirement requirements.txt
    $pip --compile --no-deps --no-index --no-build-isolation --editable .
}

if uv --version >/dev/null 2>&1; then with_uv; else with_pip; fi
touch .venv/.made
