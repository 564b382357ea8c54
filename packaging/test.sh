#!/usr/bin/env bash
# Installs what the tests need, builds, runs all tests, ends with one summary line. Exit 0 = all passed.
#   packaging/test.sh              everything
#   packaging/test.sh gcc asan tsan e2e   only these stages
# gcc: release build, all warnings are errors; units, case files, fuzz seeds, simulation, the look of the sources.
# asan: the same tests under clang's address and undefined sanitizers. tsan: those with threads, under the thread
# sanitizer. e2e: the release binary under real clients.
set -u
cd "$(dirname "$0")/.."
root=$PWD
stages=${*:-gcc asan tsan e2e}
for s in $stages; do
    case "$s" in
    gcc | asan | tsan | e2e) ;;
    *)
        echo "test.sh: there is no stage '$s', only gcc, asan, tsan, e2e" >&2
        exit 2
        ;;
    esac
done
jobs=$(nproc)
passed=0
failed=0
failures=""

packaging/install-deps.sh test || exit 1
launcher=""
command -v ccache >/dev/null && launcher="-DCMAKE_C_COMPILER_LAUNCHER=ccache"

# count STAGE LOG: adds ctest's closing numbers, and the names of what failed.
count() {
    local closing='^.*tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*$' total bad
    total=$(sed -n "s/$closing/\2/p" "$2" | tail -n 1)
    bad=$(sed -n "s/$closing/\1/p" "$2" | tail -n 1)
    if [ -z "$total" ]; then
        failed=$((failed + 1))
        failures="$failures\n  $1: no test ran"
        return
    fi
    passed=$((passed + total - bad))
    failed=$((failed + bad))
    # ctest ends with lines like "  12 - unit.storage.base.num_test (Failed)".
    failures="$failures$(sed -n 's/^\t *[0-9]* - \(.* (.*)\).*$/\\n  '"$1"': \1/p' "$2" | tr -d '\n')"
}

targets=all # what a stage builds
wrap=""     # in front of ctest

# stage NAME BUILD_DIR CTEST_ARGS CMAKE_ARGS...
stage() {
    local name=$1 dir=$2 select=$3 log=$2.log
    shift 3
    SECONDS=0
    echo "== $name: build"
    mkdir -p "$(dirname "$dir")"
    if ! { cmake -G Ninja -S "$root" -B "$dir" $launcher "$@" && ninja -C "$dir" $targets; } >"$log" 2>&1; then
        # The compiler's words, not the steps that went well.
        grep -v '^\[[0-9]*/[0-9]*\] ' "$log" | tail -n 60
        failed=$((failed + 1))
        failures="$failures\n  $name: the build failed (all of it: $log)"
        return
    fi
    echo "== $name: built in $SECONDS s; tests"
    SECONDS=0
    # What passed stays in the log; what failed is shown with its output.
    # shellcheck disable=SC2086
    (cd "$dir" && $wrap ctest -j "$jobs" --timeout 600 --no-label-summary --output-on-failure --no-tests=error $select) 2>&1 |
        tee "$log" | grep -v -e ' Passed ' -e '^ *Start ' -e '^Internal ctest' -e '^Test project' -e '^$'
    count "$name" "$log"
    echo "== $name: tested in $SECONDS s"
}

for s in $stages; do
    case "$s" in
    gcc) stage gcc "$root/build/gcc" "-LE e2e" -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=gcc ;;
    asan)
        export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
        stage asan "$root/build/asan" "-LE e2e|sources" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O1 \
            -DCMAKE_C_COMPILER=clang-14 -DTRIVET_SANITIZE=address,undefined
        ;;
    tsan)
        export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
        targets=threads_tests
        # The sanitizer's memory map collides with the widest randomization of addresses that kernels offer.
        ! setarch -R true 2>/dev/null || wrap="setarch -R"
        stage tsan "$root/build/tsan" "-L threads" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O1 \
            -DCMAKE_C_COMPILER=clang-14 -DTRIVET_SANITIZE=thread
        targets=all wrap=""
        ;;
    e2e) stage e2e "$root/build/gcc" "-L e2e" -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=gcc ;;
    esac
done

[ -z "$failures" ] || printf 'failed:%b\n' "$failures"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
