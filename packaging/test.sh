#!/usr/bin/env bash
# Installs what the tests need, builds, runs all tests, ends with one summary line. Exit 0 = all passed.
#   packaging/test.sh              everything
#   packaging/test.sh gcc asan e2e only these stages
set -u
cd "$(dirname "$0")/.."
root=$PWD
stages=${*:-"gcc asan e2e"}
jobs=$(nproc)
passed=0
failed=0
failures=""

packaging/install-deps.sh test || exit 1
launcher=""
command -v ccache >/dev/null && launcher="-DCMAKE_C_COMPILER_LAUNCHER=ccache"

# count LOG: adds ctest's closing numbers.
count() {
    local total bad
    total=$(sed -n 's/^.*tests passed, .* tests failed out of \([0-9]*\).*$/\1/p' "$1" | tail -n 1)
    bad=$(sed -n 's/^.*tests passed, \([0-9]*\) tests failed out of.*$/\1/p' "$1" | tail -n 1)
    if [ -z "$total" ]; then
        failed=$((failed + 1))
        failures="$failures\n  $2: no test ran"
        return
    fi
    passed=$((passed + total - bad))
    failed=$((failed + bad))
    [ "$bad" = 0 ] || failures="$failures$(sed -n 's/^\t *[0-9]* - \(.*\) (.*)$/\\n  '"$2"': \1/p' "$1" | tr -d '\n')"
}

# stage NAME BUILD_DIR CTEST_ARGS -- CMAKE_ARGS
stage() {
    local name=$1 dir=$2 select=$3
    shift 4
    echo "== $name"
    local log="$dir.log"
    mkdir -p "$(dirname "$dir")"
    if ! cmake -G Ninja -S "$root" -B "$dir" $launcher "$@" >"$log" 2>&1 || ! ninja -C "$dir" >>"$log" 2>&1; then
        tail -n 40 "$log"
        failed=$((failed + 1))
        failures="$failures\n  $name: the build failed (see $log)"
        return
    fi
    # shellcheck disable=SC2086
    (cd "$dir" && ctest -j "$jobs" --output-on-failure --no-tests=error $select) 2>&1 | tee "$log" | grep -v '  Passed  '
    count "$log" "$name"
}

for s in $stages; do
    case "$s" in
    gcc) stage "gcc, release" "$root/build/gcc" "-LE e2e" -- -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=gcc ;;
    asan)
        export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
        stage "clang, address and undefined sanitizers" "$root/build/asan" "-LE e2e" -- \
            -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O1 -DCMAKE_C_COMPILER=clang-14 -DTRIVET_SANITIZE=address,undefined
        ;;
    e2e) stage "end to end, real clients" "$root/build/gcc" "-L e2e" -- -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=gcc ;;
    *)
        echo "unknown stage $s" >&2
        exit 2
        ;;
    esac
done

[ -z "$failures" ] || printf 'failed:%b\n' "$failures"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
