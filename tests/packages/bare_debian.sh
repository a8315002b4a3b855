#!/usr/bin/env bash
# The packages on a Debian 12 that has nothing but its base: installs them in a root of its own, runs
# the programs, builds tests/consumer's runtime program by CMake and by pkg-config, and README's.
# As root, with mmdebstrap and a network; a few minutes.
#   tests/packages/bare_debian.sh DIR-OF-DEBS ROOT
set -euo pipefail
debs=$(cd "$1" && pwd)
root=$2
tree=$(cd "$(dirname "$0")/../.." && pwd)
[ -e "$root/etc/debian_version" ] || mmdebstrap --variant=minbase bookworm "$root"
cp "$debs"/*.deb "$root/tmp"
cp -r "$tree/tests/consumer" "$root/tmp"
sed -n '/^```cpp$/,/^```$/{//!p}' "$tree/README.md" >"$root/tmp/readme.cpp"
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive bash -ec "$1"; }
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
trap 'umount "$root/proc"' EXIT
step() { echo "== $1 ($SECONDS s)"; }

step "the runtime alone"
in_root 'apt-get -qq update && apt-get -qq -y install --no-install-recommends /tmp/libtessera-runtime*.deb >/dev/null
         ldconfig -p | grep libtessera_runtime'
step "the programs"
in_root 'apt-get -qq -y install --no-install-recommends /tmp/tessera_*.deb >/dev/null
         for p in tessera mnist cifar10 cifar100 imagenet coco ptb; do $p --version; done
         cd /tmp && mnist compress --net lenet300 --data synthetic:500:200 --method dc --bits 1 --out out >/dev/null
         tessera inspect out/lenet300-dc-adaptive2-s1.json --summary'
step "development files"
in_root 'apt-get -qq -y install --no-install-recommends /tmp/libtessera-dev*.deb g++ cmake make pkg-config >/dev/null
         cd /tmp && g++ -std=c++20 -O2 consumer/runtime/main.cpp -o by_pkg_config $(pkg-config --cflags --libs tessera-runtime)
         ./by_pkg_config out/lenet300-dc-adaptive2-s1.json
         tessera export out/lenet300-dc-adaptive2-s1.json --out net.h --overwrite
         cmake -S consumer/runtime -B by_cmake -DCMAKE_BUILD_TYPE=Release -DEMBEDDED=/tmp/net.h >/dev/null
         cmake --build by_cmake >/dev/null && by_cmake/run_runtime out/lenet300-dc-adaptive2-s1.json && by_cmake/run_embedded x'
step "the whole library"
in_root 'cd /tmp && cmake -S consumer -B whole -DCMAKE_BUILD_TYPE=Release -DREADME=/tmp/readme.cpp >/dev/null
         cmake --build whole >/dev/null && whole/consumer | tail -1'
step "done"
