#!/usr/bin/env bash
# Installs from Debian 12 what cmake/dependencies.cmake and the tests need and is not there yet.
set -euo pipefail
packages=(g++ cmake ninja-build libdnnl-dev libopenblas-openmp-dev liblapacke-dev libxbyak-dev
  libboost-iostreams-dev libboost-program-options-dev libjpeg62-turbo-dev nlohmann-json3-dev libgtest-dev libgmock-dev libbenchmark-dev
  libopenmpi-dev openmpi-bin libonnx-testdata python3)

command -v dpkg-query >/dev/null || { echo "deps.sh knows Debian only; needed are: ${packages[*]}" >&2; exit 1; }
missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
  [ "$status" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "Installing ${missing[*]}"
root=(env DEBIAN_FRONTEND=noninteractive)
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "Neither root nor sudo: run apt-get install ${missing[*]}" >&2; exit 1; }
  root=(sudo "${root[@]}")
fi
install=("${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}")
"${install[@]}" 2>/dev/null || { "${root[@]}" apt-get update -qq && "${install[@]}"; }
