#!/usr/bin/env bash
# One training step of LeNet-300-100, batch 256, f32: PyTorch and Tessera in alternation (A B A B).
#   bench/peers/compare_lenet300.sh [pairs] [mode of torch_lenet300.py]
# Both sides use two threads. PyTorch gets its fastest environment: OpenBLAS free to choose AVX-512
# kernels, in the variant that shares PyTorch's OpenMP runtime, and a malloc that keeps its pages.
# Measured and found equal or slower: OMP_WAIT_POLICY=active, OMP_PROC_BIND, GOMP_SPINCOUNT, forced
# OpenBLAS core types, huge pages, one thread, ATen's AVX2 kernels, SGD(foreach=True), jit.
# Shared machines alternate between phases in which the two cores exchange data quickly and slowly
# (same peak, 0.8 or 1.1-1.4 ms a step): read the pairwise ratios phase by phase.
set -euo pipefail
cd "$(dirname "$0")/../.."
pairs=${1:-15} mode=${2:-best}
ours=${TESSERA_MNIST:-build/release/bin/mnist} python=${PYTHON:-/usr/bin/python3}
[ -x "$ours" ] || { echo "$ours is not built; scripts/demo.sh builds it" >&2; exit 2; }
"$python" -c 'import torch' 2>/dev/null || { echo "$python lacks torch (python3-torch)" >&2; exit 2; }

unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
export OMP_NUM_THREADS=2
blas=(/usr/lib/*/openblas-openmp)

field() { grep -o '"train_step_ms": *[0-9.]*' | head -n 1 | grep -o '[0-9.]*$'; }
torch_ms() {
  env LD_LIBRARY_PATH="${blas[0]}" ATEN_CPU_CAPABILITY=avx512 MALLOC_TRIM_THRESHOLD_=8000000000 \
    MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=200000000 \
    "$python" bench/peers/torch_lenet300.py --activation tanh --mode "$mode" 2>/dev/null | field
}
tessera_ms() { "$ours" bench --train --json - 2>/dev/null | field; }

# Waits, a minute at most, for a second in which nothing else runs: a third busy thread makes spinning
# OpenMP threads many times slower.
idle_ticks() { awk '/^cpu / { print $5 }' /proc/stat; }
wait_idle() {
  local before
  for _ in {1..60}; do
    before=$(idle_ticks)
    sleep 1
    [ $(($(idle_ticks) - before)) -lt $((95 * $(nproc))) ] || return 0
  done
  echo "the machine is busy: the figures of this pair are disturbed" >&2
}

for ((i = 1; i <= pairs; i++)); do
  wait_idle
  a=$(torch_ms)
  b=$(tessera_ms)
  echo "$a $b"
done | "$python" -c '
import statistics as s, sys
print("pair  pytorch ms  tessera ms  ratio")
rows = []
for line in sys.stdin:
    a, b = map(float, line.split())
    rows.append((a, b, a / b))
    print(f"{len(rows):4d}  {a:10.4f}  {b:10.4f}  {a / b:5.3f}", flush=True)
a, b, r = zip(*rows)
print(f"median: pytorch {s.median(a):.4f} ms, tessera {s.median(b):.4f} ms, "
      f"pairwise pytorch/tessera {s.median(r):.3f} ({min(r):.3f} to {max(r):.3f})")
print(f"fastest: pytorch {min(a):.4f} ms, tessera {min(b):.4f} ms, ratio {min(a) / min(b):.3f}")'
