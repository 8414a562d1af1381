#!/bin/sh
# `tools/lock.sh` writes uv.lock and requirements.txt anew; `tools/lock.sh --check` says whether the three files agree.
# pyproject.toml says what is wanted, uv.lock what that is exactly, requirements.txt the same for those who have only pip.
set -eu
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

export_to() {
    uv export --quiet --frozen --all-groups --no-emit-project --no-header --format requirements.txt --output-file "$1" >/dev/null
}

if [ "${1:-}" != --check ]; then
    uv lock
    export_to requirements.txt
    exit 0
fi

fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
uv lock --quiet --check --offline --no-config || {
    echo "uv.lock does not fit pyproject.toml: make lock" >&2
    exit 1
}
export_to "$fresh"
cmp -s requirements.txt "$fresh" || {
    echo "requirements.txt does not fit uv.lock: make lock" >&2
    exit 1
}
