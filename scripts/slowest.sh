#!/usr/bin/env bash
# What takes the time of a build and of its tests: the files slowest to compile (.ninja_log, the last
# time each was really compiled) and the slowest tests (the log of the last ctest run), in seconds.
#   scripts/slowest.sh [build folder, build/release unless said] [how many, 20 unless said]
# ccache answers in no time: CCACHE_DISABLE=1 or an empty cache shows what compilers take.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release} most=${2:-20}
[ -f "$build/.ninja_log" ] || { echo "$build has no .ninja_log: build it first" >&2; exit 1; }

echo "== slowest to compile: $build"
awk -F'\t' '!/^#/ && $4 ~ /\.o$/ {took[$4] = ($2 - $1) / 1000}
  END {for (file in took) {printf "%8.1f  %s\n", took[file], file; all += took[file]}
       printf "%8.1f  all\n", all}' "$build/.ninja_log" |
  sed 's|CMakeFiles/[^/]*\.dir/||; s|\.o$||' | sort -rn | head -n $((most + 1))

log=$build/Testing/Temporary/LastTest.log
[ -f "$log" ] || { echo "== no ctest log in $build"; exit 0; }
echo "== slowest tests: $(sed -n 's/^Start testing: //p' "$log" | tail -1)"
awk '/^[0-9]+\/[0-9]+ Testing: / {name = $3}
  /^Test time =/ {printf "%8.1f  %s\n", $4, name; all += $4}
  END {printf "%8.1f  all\n", all}' "$log" | sort -rn | head -n $((most + 1))
