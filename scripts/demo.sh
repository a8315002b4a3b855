#!/usr/bin/env bash
# Builds the MNIST application and runs it; all arguments are the application's (try --help).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/deps.sh
cmake --preset release --log-level=WARNING
cmake --build --preset release --target mnist
exec build/release/bin/mnist "$@"
