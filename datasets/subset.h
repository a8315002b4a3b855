// Some of the samples of another set, and the division of a set into samples that train and samples
// held out of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "datasets/indexed_source.h"

namespace tessera::datasets {

// Places in the stored order of a set, each list ascending.
struct HoldOut {
  std::vector<std::int32_t> rest, held;
};

// Divides a set of `samples`, `held` of them held out: a draw that depends on these numbers alone,
// since some sets are stored by class, and no seed of a run may choose what it is measured on. More
// held out of the same set are those held out before and others. Throws Error unless 1 <= held <
// samples < 2^31.
HoldOut hold_out(std::int64_t samples, std::int64_t held);

struct SubsetOptions {
  std::uint64_t seed = 1;  // of the order
  bool shuffle = true;     // false: samples in the stored order, every epoch
};

// The samples of `source` at `rows`, in this stored order; what an epoch's augmentation does to
// each is the source's. Not copied. The index is of places among `rows`.
class Subset final : public IndexedSource {
 public:
  // Throws Error when there is no source or no row, a row is no sample of the source or stands
  // there twice.
  Subset(std::shared_ptr<const IndexedSource> source, std::vector<std::int32_t> rows,
         SubsetOptions options = {}, std::string name = "");

  std::string name() const override { return name_; }  // by default that of the source
  std::int64_t samples() const override { return static_cast<std::int64_t>(rows_.size()); }
  std::vector<Field> own_fields() const override { return source_->own_fields(); }
  void write(std::int64_t epoch, std::span<const std::int32_t> rows,
             TensorMap& batch) const override;

 private:
  std::shared_ptr<const IndexedSource> source_;
  std::vector<std::int32_t> rows_;
  std::string name_;
};

}  // namespace tessera::datasets
