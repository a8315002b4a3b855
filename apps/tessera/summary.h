// What a model is in a few lines: what it takes and gives, its numbers, work and bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/compile.h"
#include "core/files/json_io.h"
#include "quant/pack/harden.h"

namespace tessera::apps {

struct Summary {
  std::vector<std::string> inputs, outputs;  // "x f32[batch,784]"
  // Numbers of all parameters and states, and those of them that are codebook-coded.
  std::int64_t parameters = 0, coded = 0;
  std::int64_t macs = 0;  // multiply-accumulates of products and convolutions, for one sample
  // In memory, by kind; the sum is SizeReport::bytes().
  std::int64_t indices = 0, entries = 0, scales = 0, sparse = 0, dense = 0;

  std::string text(const quant::SizeReport& sizes) const;
  Json json() const;
};

// `plan` is one of `graph` at `batch` samples.
Summary summarize(const Graph& graph, const quant::SizeReport& sizes, const Plan& plan,
                  std::int64_t batch);

}  // namespace tessera::apps
