#!/usr/bin/env bash
# Installs the study into the Python that is there: all steps of Dockerfile, .devcontainer and .binder.
# Nothing is installed but what requirements.lock names, by its hashes. DRY=1 only prints what would fetch something.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
packages=$(mktemp)
trap 'rm -f "$packages"' EXIT

install() {
    echo "pip install $*"
    [ -n "${DRY:-}" ] || "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation "$@"
}

for part in setuptools ""; do # setuptools first: it builds the packages that come as source
    "$python" workflow/environment.py --locked requirements.lock $part > "$packages"
    echo "$(grep -c '==' "$packages") packages"
    install --require-hashes -r "$packages"
done
install --editable .
[ -n "${DRY:-}" ] || "$python" workflow/environment.py requirements.txt
echo "Open notebooks/00_overview.ipynb, or run ./run_all.sh quick."
