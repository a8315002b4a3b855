// Where training and evaluation take their batches from: what core, nn and quant know of a data
// set.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/fields.h"

namespace tessera {

// The field of sources that say where in the stored order their samples are: s32, in [0,
// samples()).
inline constexpr const char* kIndexField = "index";

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual std::string name() const = 0;
  virtual std::int64_t samples() const = 0;
  // Where samples are pieces of streams, in order: how many streams run side by side. Samples
  // [k lanes, (k + 1) lanes) are piece k of each, in every epoch, and samples() is a multiple. 0:
  // samples have nothing to do with each other.
  virtual std::int64_t lanes() const { return 0; }
  // What a sample consists of.
  virtual std::vector<Field> fields() const = 0;
  // Fills the tensors of `batch`, n samples of some of the fields (batch_of), with samples [first,
  // first + n) of an epoch's order. The order is a pure function of the source's seed and the
  // epoch; epoch -1 is the stored order. Throws Error for a batch of other fields or sizes.
  virtual void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const = 0;

  // Throws Error, naming the fields that there are, for another name.
  Field field(std::string_view field_name) const {
    const std::vector<Field> all = fields();
    const Field* found = find_field(all, field_name);
    check(found != nullptr, name(), ": has no field '", field_name, "', but ", listed(all));
    return *found;
  }
};

}  // namespace tessera
