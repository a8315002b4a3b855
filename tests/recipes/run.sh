#!/usr/bin/env bash
# Follows a recipe of docs/recipes.md in a scratch folder, beside a build that is there: the changed
# product files lie in an overlay that is searched before the tree, only what must see the change is
# compiled, and a program of the tests runs with it.
#   tests/recipes/run.sh op | optimizer   BUILD SCRATCH
set -euo pipefail
recipe=$1 build=$(cd "$2" && pwd) scratch=$3
root=$(cd "$(dirname "$0")/../.." && pwd)
rm -rf "$scratch"
mkdir -p "$scratch/overlay"
cd "$scratch"

# The overlay's version of a product file, from the tree's on stdin to stdout.
change() {  # FILE SED-SCRIPT
  mkdir -p "overlay/$(dirname "$1")"
  sed "$2" "$root/$1" > "overlay/$1"
  ! cmp -s "$root/$1" "overlay/$1" || { echo "$1 is as it was: the recipe's place is gone" >&2; exit 1; }
}

case $recipe in
  op)
    change ops/elementwise/table.inc "/^#undef ELEMENTWISE\$/r $root/tests/recipes/op_row.inc"
    # The row belongs before the end of the table.
    awk '/^#undef ELEMENTWISE$/ {held = $0; next} {print}
         /^\/\/ end of the row$/ {print held}' overlay/ops/elementwise/table.inc > table
    mv table overlay/ops/elementwise/table.inc
    # Whoever makes something of each row, and who keeps a table with a place for each.
    sources=(ops/elementwise/{elementwise,build,ref,rules,program_runner,x86_avx2,x86_avx512,jit/trace}.cpp
      ops/op_list.cpp tests/recipes/op_test.cpp)
    program=test_ops keep=(all_ops_test test_ops_helpers)
    filter='*/softsign:Recipe.*' ;;
  optimizer)
    change nn/optimizer.cpp "/std::vector<Optimizer> rows = {/r $root/tests/recipes/optimizer_row.inc"
    sources=(nn/optimizer.cpp tests/recipes/optimizer_test.cpp)
    program=test_nn keep=(test_nn_helpers)
    filter='Recipe.*' ;;
  *) echo "expected op or optimizer, got $recipe" >&2; exit 2 ;;
esac
touched=$(find overlay -type f | wc -l)
[ "$touched" -eq 1 ] || { echo "the recipe touches $touched product files, expected 1" >&2; exit 1; }

# As the build compiles them, less optimization, the overlay first. New files as any other.
compile() {
  local source=$1 line
  line=$(python3 - "$build" "$root/$source" <<'PY'
import json, re, sys
build, source = sys.argv[1:]
lines = json.load(open(build + "/compile_commands.json"))
found = [e["command"] for e in lines if e["file"] == source]
if not found:  # a test of this folder
    found = [e["command"] for e in lines if e["file"].endswith("tests/ops/all_ops_test.cpp")]
print(re.sub(r" -o \S+ -c \S+$", "", found[0]).replace(" -O3", " -O0").replace("-D_FORTIFY_SOURCE=2", ""))
PY
  )
  local from=$root/$source
  [ ! -f "$scratch/overlay/$source" ] || from=$scratch/overlay/$source
  (cd "$build" && eval "${line/ -I/ -I$scratch/overlay -I}" -c "$from" -o "$scratch/$(tr / _ <<< "$source").o")
}
scratch=$PWD  # absolute from here on
export -f compile
export build root scratch
printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -I{} bash -c 'set -e; compile "$@"' _ {}

# The program's own link line, with these objects before the libraries and few of its tests.
link=$(ninja -C "$build" -t commands "bin/$program" | tail -1)
python3 - "$link" "$scratch" "${keep[@]}" > link.sh <<'PY'
import re, sys
line, scratch, keep = sys.argv[1], sys.argv[2], sys.argv[3:]
line = re.sub(r"^: && |&& :$", "", line.strip())
out = []
for word in line.split(" "):
    if word.endswith(".o") and not any(k in word for k in keep):
        continue
    out.append(word)
text = " ".join(out)
text = re.sub(r"-o \S+", f"{scratch}/*.o -o {scratch}/recipe", text, count=1)
print(text)
PY
(cd "$build" && bash "$scratch/link.sh")
./recipe --gtest_brief=1 --gtest_filter="$filter"
./recipe --gtest_list_tests --gtest_filter="$filter" | grep -q '^  '
