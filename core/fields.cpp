#include "core/fields.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace tessera {

TensorType Field::type() const {
  Shape shape{kBatch};
  for (const Dim d : sample.dims()) shape.push_back(d);
  return {dtype, shape, {}};
}

Tensor Field::tensor(std::int64_t n) const {
  return Tensor(dtype, type().shape.bind(n));
}

bool Field::holds(const Tensor& tensor) const {
  return tensor.defined() && tensor.dtype() == dtype && tensor.shape().rank() >= 1 &&
         tensor.shape() == type().shape.bind(tensor.shape()[0].value());
}

std::string Field::text() const {
  return cat(name, " ", TensorType{dtype, sample, {}}.text());
}

const Field* find_field(std::span<const Field> fields, std::string_view name) {
  const auto found =
      std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == name; });
  return found == fields.end() ? nullptr : &*found;
}

std::string listed(std::span<const Field> fields) {
  std::string out;
  for (const Field& field : fields) out += (out.empty() ? "" : ", ") + field.text();
  return out;
}

TensorMap batch_of(std::span<const Field> fields, std::int64_t n) {
  TensorMap out;
  for (const Field& field : fields) out.emplace(field.name, field.tensor(n));
  return out;
}

std::int64_t batch_size(const TensorMap& batch, std::span<const Field> fields,
                        const std::string& where) {
  check(!batch.empty(), where, ": expected a batch of some of ", listed(fields), ", got nothing");
  std::int64_t n = -1;
  for (const auto& [name, tensor] : batch) {
    const Field* field = find_field(fields, name);
    check(field != nullptr, where, ": has no field '", name, "', but ", listed(fields));
    check(field->holds(tensor), where, ": expected '", name, "' of n samples ", field->text(),
          ", got ", tensor.defined() ? tensor.text_type() : "none");
    const std::int64_t rows = tensor.shape()[0].value();
    check(n < 0 || rows == n, where, ": '", name, "' has ", rows, " samples, another field ", n);
    n = rows;
  }
  return n;
}

TensorMap slice(const TensorMap& batch, std::int64_t first, std::int64_t n) {
  TensorMap out;
  for (const auto& [name, tensor] : batch) out.emplace(name, tensor.slice(first, first + n));
  return out;
}

void copy_rows(const TensorMap& from, std::int64_t first, TensorMap& to) {
  for (auto& [name, tensor] : to) {
    const auto found = from.find(name);
    check(found != from.end(), "there is no field '", name, "' to copy");
    if (tensor.numel() == 0) continue;
    const Tensor rows = found->second.slice(first, first + tensor.shape()[0].value());
    check(rows.dtype() == tensor.dtype() && rows.shape() == tensor.shape(), "field '", name,
          "' is ", rows.text_type(), ", not ", tensor.text_type());
    std::memcpy(tensor.data(), rows.data(), static_cast<std::size_t>(tensor.bytes()));
  }
}

}  // namespace tessera
