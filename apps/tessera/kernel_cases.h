// Operators by themselves, in the shapes that networks have and in awkward ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/encoding.h"
#include "core/graph.h"

namespace tessera::apps {

// One operator that reads a weight; samples are rows, images or sequences.
struct KernelCase {
  std::string name;  // "matmul 4096x4096", "conv 64->128 56x56 k3 s2", "lstm 200 T20"
  std::string op;    // of the node that is measured
  // Its graph on `batch` samples: the weight dense for 0 bits, else a codebook of 2^bits entries.
  Graph (*build)(const KernelCase& kernel, std::int64_t batch, int bits);
  std::vector<std::int64_t> numbers;  // of `build`
};

// Cases by words: squares (256 to 8192), odd, lstm, a network of the zoo (its convolutions, each
// once), zoo (all of them), OUTxIN, conv:C,OUT,SIZE,KERNEL,STRIDE[,GROUPS], lstm:UNITS,STEPS.
// Throws Error naming the words for one that is unknown.
std::vector<KernelCase> kernel_cases(const std::string& word);

}  // namespace tessera::apps
