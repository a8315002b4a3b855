// What samples are made of: named quantities, and batches of them.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/encoding.h"
#include "core/tensor.h"

namespace tessera {

using TensorMap = std::map<std::string, Tensor>;

// One quantity of a sample: an image, a label, tokens, boxes.
struct Field {
  std::string name;
  DType dtype = DType::f32;
  Shape sample = {};  // of one sample, without the batch axis
  // Integers lie in [0, below); 0: they may be any.
  std::int64_t below = 0;
  // Where samples have different numbers of rows (boxes): the field, s32 with one value a sample,
  // that says how many of the first axis are meant. The others are padding, zeros.
  std::string count = {};

  TensorType type() const;                 // [batch, sample...], the batch symbolic
  Tensor tensor(std::int64_t n) const;     // of n samples, zeros
  bool holds(const Tensor& tensor) const;  // whether it is n samples of this field, any n
  std::string text() const;                // "x f32[1,28,28]"
  friend bool operator==(const Field&, const Field&) = default;
};

// The field of that name; null where there is none.
const Field* find_field(std::span<const Field> fields, std::string_view name);
// "x f32[784], y s32[]"
std::string listed(std::span<const Field> fields);

// Tensors of n samples for all of the fields.
TensorMap batch_of(std::span<const Field> fields, std::int64_t n);
// The samples of a batch. Throws Error, naming `where`, for one that is empty, has a tensor that is
// none of the fields, or tensors that do not agree.
std::int64_t batch_size(const TensorMap& batch, std::span<const Field> fields,
                        const std::string& where);
// Rows [first, first + n) of every tensor, sharing their elements.
TensorMap slice(const TensorMap& batch, std::int64_t first, std::int64_t n);
// Copies rows [first, ...) of the tensors of `from` that `to` has into it, as many as `to` holds.
// Their rows must be of one type; throws Error where there are too few.
void copy_rows(const TensorMap& from, std::int64_t first, TensorMap& to);

}  // namespace tessera
