#!/usr/bin/env bash
# Builds everything and runs the tests.
#   scripts/test.sh [--asan | --tsan] [--full] [ctest arguments, e.g. -L quick or -R matmul]
#   scripts/test.sh [--asan | --tsan] --programs core,ops,...
# All but the long tests run, which --full adds; each test program in one process (the first crash
# ends it). With -L or -R those tests run, each in a process of its own: quick, data (skipped where
# the data is not there), fuzz, full, package. --programs builds and runs the quick tests of these
# folders alone. --asan and --tsan use those presets.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=release usual=(-L '^(program|check|package)$') configure=() select=() programs=()
while [ $# -gt 0 ]; do
  arg=$1
  shift
  case $arg in
    --programs) [ $# -gt 0 ] || { echo "--programs: expected a list of folders: core,ops" >&2; exit 2; }
      IFS=, read -ra programs <<< "$1"; shift ;;
    --asan) preset=debug-asan configure=(-DTESSERA_BUILD_BENCH=OFF) ;;
    --tsan) preset=tsan configure=(-DTESSERA_BUILD_BENCH=OFF) ;;
    --full) usual=(-L '^(program|check|package|full)$') ;;
    -h | --help) sed -n '2,8s/^# \?//p' "$0"; exit 0 ;;
    -L* | -R*) usual=() select+=("$arg") ;;
    *) select+=("$arg") ;;
  esac
done

# oneDNN's and OpenMP's own code is not instrumented: ThreadSanitizer must not judge it.
export TSAN_OPTIONS=${TSAN_OPTIONS:-ignore_noninstrumented_modules=1}

scripts/deps.sh
cmake --preset "$preset" "${configure[@]}" --log-level=WARNING
title="$preset ${TESSERA_ISA:+TESSERA_ISA=$TESSERA_ISA }"
if [ ${#programs[@]} -gt 0 ]; then
  [ ${#select[@]} -eq 0 ] || { echo "--programs takes no ctest arguments: ${select[*]}" >&2; exit 2; }
  cmake --build --preset "$preset" --target "${programs[@]/#/test_}"
  echo "== quick tests: $title${programs[*]}"
  export OMP_WAIT_POLICY=passive  # they run side by side
  logs=$(mktemp -d)
  trap 'rm -rf "$logs"' EXIT
  run() {  # one program; its output when it fails, else its totals
    if "build/$1/bin/test_$2" --gtest_brief=1 > "$3/$2" 2>&1; then
      echo "test_$2: $(grep -E '^\[  (PASSED|SKIPPED)' "$3/$2" | tr '\n' ' ')"
    else
      local code=$?
      cat "$3/$2"
      echo "test_$2: failed with $code"
      return 1
    fi
  }
  export -f run
  printf '%s\n' "${programs[@]}" | xargs -P "$(nproc)" -I{} bash -c 'run "$@"' _ "$preset" {} "$logs"
  exit
fi
cmake --build --preset "$preset"
echo "== ctest: $title${usual[*]} ${select[*]}"
code=0
ctest --preset "$preset" -j "$(nproc)" --no-tests=error "${usual[@]}" "${select[@]}" || code=$?
# Of the programs that ran whole.
awk '/^\[  PASSED  \] [0-9]+ test/ {passed += $4; n++} /^\[  SKIPPED \] [0-9]+ test/ {skipped += $4}
     /^\[  FAILED  \] [0-9]+ test/ {failed += $4}
     END {if (n) printf "GoogleTest: %d passed, %d skipped, %d failed in %d programs\n", passed, skipped, failed, n}' \
  "build/$preset/Testing/Temporary/LastTest.log"
exit $code
