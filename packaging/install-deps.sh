#!/usr/bin/env bash
# Installs Debian packages: install-deps.sh build | test [--dry-run]
# build: what compiling trivet needs. test: that, and what the tests need. Does nothing when all are there.
set -eu

build="gcc g++ make cmake ninja-build pkg-config libuv1-dev node-llhttp libprotobuf-c-dev protobuf-c-compiler
 libzstd-dev zlib1g-dev liblz4-dev libsnappy-dev libsqlite3-dev libnghttp2-dev libpcre2-dev libxxhash-dev libyaml-dev libssl-dev"
test="$build libcmocka-dev libjansson-dev clang-14 libclang-rt-14-dev clang-format-14 python3 python3-venv nodejs
 curl nghttp2-client sqlite3 procps ca-certificates prometheus"

case "${1:-}" in
build) wanted=$build ;;
test) wanted=$test ;;
*)
    echo "usage: install-deps.sh build|test [--dry-run]" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "install-deps.sh: this is not a Debian system; install the equivalents of:" >&2
    echo $wanted >&2
    exit 1
fi

missing=""
for package in $wanted; do
    # A tool installed by other means is as good as its package.
    case "$package" in
    nodejs) command -v node >/dev/null && continue ;;
    python3 | python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null && continue ;;
    esac
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
# npm comes with some installations of node, and as a package of its own with Debian's.
if [ "$1" = test ] && ! command -v npm >/dev/null; then
    missing="$missing npm"
fi

[ -n "$missing" ] || exit 0
if [ "${2:-}" = --dry-run ]; then
    echo "missing:$missing"
    exit 0
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "install-deps.sh: run as root, or install sudo; missing:$missing" >&2
        exit 1
    }
    as_root=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get -qq update
# shellcheck disable=SC2086
$as_root apt-get -qq install -y --no-install-recommends $missing >/dev/null
