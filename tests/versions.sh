#!/usr/bin/env bash
# The default tests in a virtual environment with the newest versions that setup.py allows:
# tests/versions.sh PYTHON ENVIRONMENT [arguments of pytest]. The environment is made where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n 2,3p "$0" >&2; exit 2; }
python=$1 environment=$2
shift 2
"$python" -m venv "$environment"
"$environment/bin/pip" install --quiet -e '.[test]'
"$environment/bin/python" -m pytest "$@"
