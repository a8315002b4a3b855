#include "datasets/random_samples.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "core/rng.h"

namespace tessera::datasets {

namespace {

std::int32_t draw(Rng& rng, std::int64_t below) {
  return below > 0 ? static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(below))) : 0;
}

// Zeros behind the rows that are meant.
void pad(Tensor& values, const Tensor& counts) {
  const std::int64_t rows = values.shape()[1].value(),
                     bytes = values.bytes() / (values.shape()[0].value() * rows);
  auto* at = static_cast<std::byte*>(values.data());
  for (const std::int32_t count : counts.span<std::int32_t>()) {
    std::memset(at + count * bytes, 0, static_cast<std::size_t>((rows - count) * bytes));
    at += rows * bytes;
  }
}

}  // namespace

RandomSamples::RandomSamples(std::string name, std::vector<Field> fields, std::int64_t samples,
                             std::uint64_t seed)
    : IndexedSource(/*shuffle=*/false, seed),
      name_(std::move(name)),
      fields_(std::move(fields)),
      samples_(samples) {
  check(samples >= 1, "[", name_, "] expected at least one sample, got ", samples);
  Rng rng(seed, stable_id("random images"));
  tensors_ = batch_of(fields_, samples);
  for (const Field& field : fields_) {
    check(field.dtype == DType::f32 || field.dtype == DType::s32, "[", name_,
          "] expected fields of f32 or s32, got ", field.text());
    Tensor& tensor = tensors_.at(field.name);
    if (field.dtype == DType::f32) {
      for (float& value : tensor.span<float>()) value = rng.uniform(-1, 1);
    } else {
      for (auto& value : tensor.span<std::int32_t>()) value = draw(rng, field.below);
    }
  }
  // A field may count several: what all of them can hold.
  std::map<std::string, std::int64_t> most;
  for (const Field& field : fields_) {
    if (field.count.empty()) continue;
    const Field* count = find_field(fields_, field.count);
    const std::int64_t rows = field.sample.rank() >= 1 ? field.sample[0].value() : 0;
    check(count != nullptr && count->dtype == DType::s32 && count->sample.rank() == 0 && rows >= 1,
          "[", name_, "] ", field.text(), " is counted by '", field.count,
          "', expected a field s32[] and rows to count");
    const auto at = most.try_emplace(field.count, rows).first;
    at->second = std::min(at->second, rows);
  }
  for (const auto& [name, rows] : most) {
    const std::int64_t below = find_field(fields_, name)->below;
    for (auto& value : tensors_.at(name).span<std::int32_t>())
      value = draw(rng, below > 0 ? std::min(below, rows + 1) : rows + 1);
  }
  for (const Field& field : fields_) {
    if (!field.count.empty()) pad(tensors_.at(field.name), tensors_.at(field.count));
  }
}

void RandomSamples::write(std::int64_t, std::span<const std::int32_t> rows,
                          TensorMap& batch) const {
  for (auto& [name, tensor] : batch) {
    const Tensor& from = tensors_.at(name);
    const std::int64_t bytes = from.bytes() / samples_;
    auto* to = static_cast<std::byte*>(tensor.data());
    const auto* first = static_cast<const std::byte*>(from.data());
    for (const std::int32_t row : rows) {
      std::memcpy(to, first + row * bytes, static_cast<std::size_t>(bytes));
      to += bytes;
    }
  }
}

}  // namespace tessera::datasets
