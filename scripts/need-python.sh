#!/bin/sh
# need-python.sh: the Python scanners of sipp-tests/clients/requirements.txt in target/clients. Where they cannot be installed
# one line says so, and the tests that want them are skipped.
set -eu
cd "$(dirname "$0")/.."
env=${CARGO_TARGET_DIR:-target}/clients
want=sipp-tests/clients/requirements.txt
if [ -f "$env/done" ] && cmp -s "$want" "$env/done"; then exit 0; fi
rm -rf "$env"
mkdir -p "$(dirname "$env")"
if python3 -m venv "$env" >"$env.log" 2>&1 && "$env/bin/python3" -m pip install --quiet -r "$want" >>"$env.log" 2>&1; then
    cp "$want" "$env/done"
else
    echo "skipped: the scanners could not be installed (python3 -m venv, pip install -r $want): see $env.log" >&2
    rm -rf "$env"
fi
