#!/usr/bin/env bash
# The same as versions.sh, with the lowest versions that setup.py allows of what it names.
set -euo pipefail
folder=$(cd "$(dirname "$0")" && pwd)
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
grep -oE '"[A-Za-z0-9_-]+(\[[a-z-]+\])?>=[0-9.]+' "$folder/../setup.py" |
  sed -E 's/"|\[.*\]//g; s/>=/==/' >"$constraints"
PIP_CONSTRAINT=$constraints "$folder/versions.sh" "$@"
