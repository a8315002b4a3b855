// Bits by tensor for a size that was asked for: --target-bpw and --target-size of compress.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "experiment/compression.h"
#include "quant/plan/sensitivity.h"

namespace tessera::experiment {

class BitAllocator {
 public:
  // `keep`: what is measured is written to the output folder.
  BitAllocator(Session& session, const Task& task, bool keep = true)
      : session_(session), task_(task), keep_(keep) {}
  BitAllocator(const BitAllocator&) = delete;

  // The recipe with a rule for every tensor that the variant's target decides; the recipe as it is
  // when the variant names a codebook. Prints tensors, bits and rules. Sensitivities are measured
  // once for a reference and scope, and kept as NAME-sensitivity-...-sSEED in the output folder,
  // where --resume finds them. Throws Error for a target below what the smallest codebooks take.
  CompressRecipe recipe(const Reference& reference, const CompressRecipe& recipe,
                        const Variant& variant, std::uint64_t seed);

  // Throws Error, with the least possible size, for a target below what the smallest codebooks of
  // such weights take; none for a variant that names a codebook. Measures nothing. Returns the
  // least size in words.
  std::string require(const CompressRecipe& recipe, const Variant& variant,
                      const State* weights) const;

  // "allocations": what was chosen; "pareto": the best predicted loss for each size, all sizes of
  // which it is known. Empty when no variant had a target.
  const Json& json() const { return json_; }

 private:
  struct Measurement {
    std::vector<quant::CandidateTensor> tensors;
    double dense_loss = 0;  // of the reference on the calibration samples
  };
  const Measurement& measured(const Reference& reference, const CompressRecipe& recipe,
                              std::int64_t group_rows, std::uint64_t seed);

  Session& session_;
  const Task& task_;
  bool keep_;
  std::map<std::pair<std::uint64_t, std::int64_t>, Measurement> measured_;  // seed, group rows
  Json json_ = Json::object();
};

}  // namespace tessera::experiment
