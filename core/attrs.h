// Attributes of a node: a small sorted map from name to a typed constant.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "core/program.h"
#include "core/shape.h"

namespace tessera {

using Ints = std::vector<std::int64_t>;
// The order of the alternatives is the order of AttrKind.
using AttrValue =
    std::variant<std::int64_t, double, bool, std::string, Ints, Shape, DType, ProgramRef>;
enum class AttrKind { integer, real, boolean, string, integers, shape, dtype, program };

constexpr std::string_view name(AttrKind kind) {
  constexpr std::string_view names[] = {"integer",  "real",  "boolean", "string",
                                        "integers", "shape", "dtype",   "program"};
  return names[static_cast<int>(kind)];
}
inline AttrKind kind_of(const AttrValue& value) {
  return static_cast<AttrKind>(value.index());
}

// Reals by bits: 0 and -0 differ, NaN equals itself.
bool same_attr(const AttrValue& a, const AttrValue& b);

// Text of one value; parse_attr reads it back and throws Error on anything else. `ops` are those
// that programs may use.
std::string attr_text(const AttrValue& value);
AttrValue parse_attr(const OpSet& ops, AttrKind kind, std::string_view text);
// A program's text without the quotes; "" is none.
ProgramRef parse_program_attr(const OpSet& ops, std::string_view text);

class Attrs {
 public:
  using Item = std::pair<std::string, AttrValue>;
  Attrs() = default;
  Attrs(std::initializer_list<Item> items) {
    for (const auto& item : items) set(item.first, item.second);
  }
  void set(std::string_view name, AttrValue value);
  const AttrValue* find(std::string_view name) const;
  // The value of an attribute that infer has checked to exist.
  template <class T>
  const T& get(std::string_view name) const {
    const AttrValue* value = find(name);
    TESSERA_ASSERT(value != nullptr && std::holds_alternative<T>(*value));
    return std::get<T>(*value);
  }
  std::int64_t integer(std::string_view name) const { return get<std::int64_t>(name); }
  double real(std::string_view name) const { return get<double>(name); }
  bool boolean(std::string_view name) const { return get<bool>(name); }
  const std::string& string(std::string_view name) const { return get<std::string>(name); }
  const Ints& integers(std::string_view name) const { return get<Ints>(name); }
  const Shape& shape(std::string_view name) const { return get<Shape>(name); }
  const ProgramRef& program(std::string_view name) const { return get<ProgramRef>(name); }

  const std::vector<Item>& items() const { return items_; }
  bool empty() const { return items_.empty(); }
  // Binds the batch symbol in shape attributes.
  Attrs bind(std::int64_t batch) const;
  std::string text() const;  // "{axis=1,keep=true}", "" when empty
  std::size_t hash() const;  // of equal ones equal
  friend bool operator==(const Attrs& a, const Attrs& b);

 private:
  std::vector<Item> items_;
};

}  // namespace tessera
