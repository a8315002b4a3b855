// What to compress and how: a policy by rules, and the plan it gives for a model, made before any
// work and printed with a reason for every tensor.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "nn/module.h"
#include "quant/fit.h"

namespace tessera::quant {

struct TensorChoice {
  CodebookSpec spec = CodebookSpec::adaptive(2);
  std::int64_t group_rows = 0;  // one codebook per this many rows; 0: one per tensor
};

struct PolicyRule {
  std::string pattern;                 // ECMAScript regular expression on the whole name
  std::optional<TensorChoice> choice;  // none: leave as it is
};

struct Policy {
  TensorChoice weights;           // for every parameter of rank 2 or more
  std::vector<PolicyRule> rules;  // first match wins over the default
};

struct TensorPlan {
  std::string name;
  Shape shape;
  std::optional<TensorChoice> choice;
  std::string reason;  // why it stays dense, "" when compressed
};

struct CompressionPlan {
  std::vector<TensorPlan> tensors;
  // A table: tensor, shape, encoding or why it is skipped.
  std::string text() const;
};

// Throws Error for what cannot work: a bad regular expression or one that matches nothing, more
// entries than weights, NaN or Inf in a weight (naming the tensor and the position), and when
// nothing would be compressed.
CompressionPlan plan_compression(const std::vector<nn::ParameterSpec>& parameters,
                                 const State& state, const Policy& policy);

}  // namespace tessera::quant
