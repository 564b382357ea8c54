#!/usr/bin/env bash
# setup.sh DIR: a Python environment and a node_modules folder with the clients. Does nothing when they are there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
mkdir -p "$dir"
if ! cmp -s "$here/requirements.txt" "$dir/requirements.txt"; then
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$dir/requirements.txt"
fi
if ! cmp -s "$here/package.json" "$dir/package.json.done"; then
    cp "$here/package.json" "$dir/package.json"
    (cd "$dir" && npm install --silent --no-audit --no-fund)
    cp "$here/package.json" "$dir/package.json.done"
fi
