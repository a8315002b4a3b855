// Random samples of any fields, for measurements of speed.
#pragma once

#include <string>
#include <vector>

#include "datasets/indexed_source.h"

namespace tessera::datasets {

// Floats are uniform in [-1, 1), integers in [0, below) (0 where a field names no bound), held in
// memory. A count of padded rows (Field::count) is at most their number, and what lies behind it
// is zero. Samples come in the stored order in every epoch.
class RandomSamples final : public IndexedSource {
 public:
  // Throws Error for no samples, and for fields of other dtypes than f32 and s32.
  RandomSamples(std::string name, std::vector<Field> fields, std::int64_t samples,
                std::uint64_t seed = 1);

  std::string name() const override { return name_; }
  std::int64_t samples() const override { return samples_; }
  // Each is a stream of one piece, for networks that carry values on.
  std::int64_t lanes() const override { return samples_; }
  std::vector<Field> own_fields() const override { return fields_; }
  void write(std::int64_t epoch, std::span<const std::int32_t> rows,
             TensorMap& batch) const override;

 private:
  std::string name_;
  std::vector<Field> fields_;
  std::int64_t samples_;
  TensorMap tensors_;
};

}  // namespace tessera::datasets
