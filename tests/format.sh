#!/usr/bin/env bash
# The look of C sources is .clang-format's: `tests/format.sh` names what differs and exits 1,
# `tests/format.sh -i` mends it.
# CLANG_FORMAT names the program; another version formats differently, so only version 14 counts.
set -u
cd "$(dirname "$0")/.."
clang_format=${CLANG_FORMAT:-clang-format-14}
mode="--dry-run -Werror"
[ "${1:-}" != -i ] || mode=-i
# shellcheck disable=SC2086
find storage query server web tests \( -name '*.c' -o -name '*.h' \) -print0 |
    xargs -0 -n 32 -P "$(nproc)" "$clang_format" $mode && exit 0
echo "mend with: tests/format.sh -i"
exit 1
