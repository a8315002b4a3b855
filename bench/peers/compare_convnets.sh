#!/usr/bin/env bash
# One training step of a convolutional network: PyTorch and Tessera in alternation (A B A B).
#   bench/peers/compare_convnets.sh NET [pairs] [f32|bf16]
#   NET: lenet5 resnet20 alexnet_cifar vgg16 resnet18 mobilenet_v2
# Both sides use two threads, random images and the batch of torch_convnets.py. PyTorch gets its
# fastest environment (see compare_lenet300.sh) and layout.
set -euo pipefail
cd "$(dirname "$0")/../.."
net=${1:?which network?} pairs=${2:-3} compute=${3:-f32}
case $net in
  lenet5) app=mnist batch=256 ;;
  resnet18 | mobilenet_v2) app=imagenet batch=32 ;;
  *) app=cifar10 batch=128 ;;
esac
ours=build/release/bin/$app python=${PYTHON:-/usr/bin/python3}
[ -x "$ours" ] || { echo "$ours is not built; scripts/test.sh builds it" >&2; exit 2; }
"$python" -c 'import torch, torchvision' 2>/dev/null || { echo "$python lacks torch or torchvision" >&2; exit 2; }

unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
export OMP_NUM_THREADS=2
blas=(/usr/lib/*/openblas-openmp)
steps=20
[ "$batch" -ne 32 ] || steps=8

torch_step() {
  env LD_LIBRARY_PATH="${blas[0]}" ATEN_CPU_CAPABILITY=avx512 MALLOC_TRIM_THRESHOLD_=8000000000 \
    MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=200000000 \
    "$python" bench/peers/torch_convnets.py "$net" --steps "$steps" $([ "$compute" = f32 ] || echo --bf16) 2>/dev/null
}
tessera_step() {
  "$ours" bench --net "$net" --train --method none --data random --batch "$batch" --steps "$steps" --repeat 1 \
    --compute "$compute" --peak-memory --json - 2>/dev/null
}

for ((i = 1; i <= pairs; i++)); do
  torch_step | tr -d '\n'
  echo
  tessera_step | tr -d '\n'
  echo
done | "$python" -c '
import json, statistics as s, sys
net = sys.argv[1]
rows = [json.loads(line) for line in sys.stdin]
pairs = list(zip(rows[::2], rows[1::2]))
def mb(ours): return ours["peak_memory_bytes"] / 2**20
ratios = [a["train_step_ms"] / b["train_step_ms"] for a, b in pairs]
for (a, b), r in zip(pairs, ratios):
    print("%s: pytorch %.2f ms %.0f MB, tessera %.2f ms %.0f MB, ratio %.2f" %
          (net, a["train_step_ms"], a["peak_mb"], b["train_step_ms"], mb(b), r))
a, b = pairs[0]
print("%s: median ratio %.2f (%.2f to %.2f), memory %.2f of PyTorch, %.0f GFLOP/s peak measured beside" %
      (net, s.median(ratios), min(ratios), max(ratios), mb(b) / a["peak_mb"], b.get("peak_gflops", 0)))' "$net"
