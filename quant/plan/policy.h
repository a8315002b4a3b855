// What to compress and how: a policy by rules, and the plan it gives for a model, made before any
// work and printed with a reason for every tensor.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/module.h"
#include "quant/fit/fit.h"

namespace tessera::quant {

struct TensorChoice {
  CodebookSpec spec = CodebookSpec::adaptive(2);
  // One codebook per this many rows (axis 0: outputs, or filters of a convolution); the last group
  // may be shorter. 0, or as many as there are: one for the tensor.
  std::int64_t group_rows = 0;
  // A sparse correction: ceil(sparse * n) of n weights keep what their entry lacks, stored beside
  // the codebook. Below 1; 0: none.
  double sparse = 0;
};

struct PolicyRule {
  std::string pattern;                 // ECMAScript regular expression on the whole name
  std::optional<TensorChoice> choice;  // none: leave as it is
  std::string origin = {};             // where it stands, for messages: "rules.txt:3"
};

struct Policy {
  // For every parameter of rank 2 or more; one with fewer weights than entries stays dense.
  TensorChoice weights = {};
  // First match wins over everything else. A codebook is for weights: vectors stay as they are,
  // whichever rule matches them.
  std::vector<PolicyRule> rules = {};
  std::int64_t min_size = 0;  // weights with fewer elements stay dense, unless a rule names them
  // Regular expressions on whole names: all coded tensors that one matches read ONE set of entries.
  // They need the same codebook and no row groups.
  std::vector<std::string> shared = {};
  // The first and the last weight of the model, which quantize worst, get 256 adaptive entries;
  // one too small for that to pay stays dense.
  bool first_last_8 = false;
  // Regular expression on whole names: what it matches, and the first weight, are treated so.
  std::string first_and_8 = {};
  // Depthwise filters differ most between channels: one codebook for as few rows as hold two
  // weights an entry. Depthwise is a weight [n, 1, kh, kw] that is not the model's first.
  bool depthwise_per_channel = false;
  // Frozen weights (TrainerOptions::frozen) stay dense; true compresses them like the others. A
  // rule that names one decides for itself.
  bool frozen = false;
  // Regular expression on whole names: weights that neither it nor a rule matches stay dense.
  // Empty: all are coded.
  std::string only = {};

  // Turns on "all" (nothing more), "first-last-8", "depthwise-per-channel", "stages": only the
  // convolutions inside a residual network's stages (layer1.0.conv1.weight), not its first one, its
  // shortcuts and its last layer; "recurrent": only the matrices of LSTMs (lstm.0.weight_ih and
  // weight_hh), not the embedding and the softmax; or "detector-8": first_and_8 for a detector's
  // box branch and the outputs of its heads (head.box.0.conv.weight, head.score.output.weight).
  // Throws Error.
  void use(std::string_view preset);
};

struct TensorPlan {
  // What decided: nothing could (vectors), Policy::weights, its depthwise preset, or a rule or
  // another preset.
  enum class Source { none, weights, depthwise, named };

  std::string name;
  Shape shape;
  std::optional<TensorChoice> choice;
  std::string reason;  // why it stays dense, or is treated unlike the others; else ""
  // Of tensors with a common codebook: the first of them, under whose name the entries stand.
  std::string shares = {};
  Source source = Source::none;
  // The operator that reads it where that is none of the layers of quant/calibrate/layers.h, when
  // somebody looked (note_readers()).
  std::string reader = {};
};

// Rows of a depthwise weight that share a codebook of k entries: as few as hold two weights an
// entry; 0 where that takes all of them.
std::int64_t depthwise_group_rows(const Shape& shape, std::int64_t k);

struct CompressionPlan {
  std::vector<TensorPlan> tensors;
  // The plan of a tensor that is to be compressed; null for others.
  const TensorPlan* find(const std::string& name) const;
  std::vector<std::string> compressed() const;  // names, in order
  // The tensors that share their entries with `item`, itself among them, in order.
  std::vector<const TensorPlan*> sharers(const TensorPlan& item) const;
  // Throws Error naming the tensor when one is to have a sparse correction or a shared codebook:
  // for methods that fit every tensor on its own.
  void require_plain(const std::string& method) const;
  // A table: tensor, shape, encoding or why it is skipped.
  std::string text() const;
};

// Throws Error for what cannot work: a bad regular expression, one that matches nothing, a codebook
// for vectors only, more entries than weights where a rule or row groups ask for them, NaN or Inf
// in a weight (naming the tensor and the position), tensors that cannot share a codebook, and when
// nothing would be compressed.
CompressionPlan plan_compression(const std::vector<nn::ParameterSpec>& parameters,
                                 const State& state, const Policy& policy);

}  // namespace tessera::quant
