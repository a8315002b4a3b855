#!/usr/bin/env bash
# Builds everything and runs the tests.
#   scripts/test.sh [--asan | --tsan] [--full] [ctest arguments, e.g. -L quick or -R matmul]
# --full adds the long tests (label full), --asan and --tsan use those presets. Without -L or -R all
# labels but full run: quick, data (skipped where the data is not there), fuzz, package.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=release skip=(-LE '^full$') configure=() select=()
for arg in "$@"; do
  case $arg in
    --asan) preset=debug-asan configure=(-DTESSERA_BUILD_BENCH=OFF) ;;
    --tsan) preset=tsan configure=(-DTESSERA_BUILD_BENCH=OFF) ;;
    --full) skip=() ;;
    -h | --help) sed -n '2,6s/^# \?//p' "$0"; exit 0 ;;
    -L* | -R*) skip=() select+=("$arg") ;;
    *) select+=("$arg") ;;
  esac
done

# oneDNN's and OpenMP's own code is not instrumented: ThreadSanitizer must not judge it.
export TSAN_OPTIONS=${TSAN_OPTIONS:-ignore_noninstrumented_modules=1}

scripts/deps.sh
cmake --preset "$preset" "${configure[@]}" --log-level=WARNING
cmake --build --preset "$preset"
echo "== ctest: $preset ${TESSERA_ISA:+TESSERA_ISA=$TESSERA_ISA }${skip[*]} ${select[*]}"
ctest --preset "$preset" -j "$(nproc)" --no-tests=error "${skip[@]}" "${select[@]}"
