#include "core/attrs.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace tessera {

namespace {

std::string real_text(double value) {
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), value);
  std::string out(buffer, end);
  // Keeps reals apart from integers when a person reads the text.
  if (std::isfinite(value) && out.find_first_of(".e") == std::string::npos) out += ".0";
  return out;
}

std::string quote(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

template <class T>
T number(std::string_view text, AttrKind kind) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && end == text.data() + text.size() && !text.empty(), "expected ",
        name(kind), ", got '", text, "'");
  return value;
}

}  // namespace

std::string attr_text(const AttrValue& value) {
  switch (kind_of(value)) {
    case AttrKind::integer:
      return std::to_string(std::get<std::int64_t>(value));
    case AttrKind::real:
      return real_text(std::get<double>(value));
    case AttrKind::boolean:
      return std::get<bool>(value) ? "true" : "false";
    case AttrKind::string:
      return quote(std::get<std::string>(value));
    case AttrKind::integers: {
      std::string out = "[";
      for (const auto n : std::get<Ints>(value))
        out += (out.size() > 1 ? "," : "") + std::to_string(n);
      return out + "]";
    }
    case AttrKind::shape:
      return std::get<Shape>(value).text();
    case AttrKind::dtype:
      return std::string(name(std::get<DType>(value)));
    case AttrKind::program:
      return quote(std::get<ProgramRef>(value).text());
  }
  return {};
}

ProgramRef parse_program_attr(const OpSet& ops, std::string_view text) {
  return text.empty() ? ProgramRef() : ProgramRef(parse_program(ops, text));
}

AttrValue parse_attr(const OpSet& ops, AttrKind kind, std::string_view text) {
  switch (kind) {
    case AttrKind::integer:
      return number<std::int64_t>(text, kind);
    case AttrKind::real:
      return number<double>(text, kind);
    case AttrKind::boolean:
      check(text == "true" || text == "false", "expected true or false, got '", text, "'");
      return text == "true";
    case AttrKind::program:
      return parse_program_attr(ops,
                                std::get<std::string>(parse_attr(ops, AttrKind::string, text)));
    case AttrKind::string: {
      check(text.size() >= 2 && text.front() == '"' && text.back() == '"',
            "expected a quoted string, got '", text, "'");
      std::string out;
      for (std::size_t i = 1; i + 1 < text.size(); ++i) {
        if (text[i] == '\\' && i + 2 < text.size()) ++i;
        out += text[i];
      }
      return out;
    }
    case AttrKind::integers: {
      check(text.size() >= 2 && text.front() == '[' && text.back() == ']',
            "expected a list of integers, got '", text, "'");
      text = text.substr(1, text.size() - 2);
      Ints out;
      while (!text.empty()) {
        const auto comma = text.find(',');
        out.push_back(number<std::int64_t>(text.substr(0, comma), kind));
        text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
      }
      return out;
    }
    case AttrKind::shape:
      return parse_shape(text);
    case AttrKind::dtype: {
      const auto dtype = parse_dtype(text);
      check(dtype.has_value(), "expected a dtype, got '", text, "'");
      return *dtype;
    }
  }
  return {};
}

void Attrs::set(std::string_view name, AttrValue value) {
  auto at = std::lower_bound(items_.begin(), items_.end(), name,
                             [](const Item& item, std::string_view n) { return item.first < n; });
  if (at != items_.end() && at->first == name) {
    at->second = std::move(value);
  } else {
    items_.insert(at, Item(std::string(name), std::move(value)));
  }
}

const AttrValue* Attrs::find(std::string_view name) const {
  for (const auto& item : items_) {
    if (item.first == name) return &item.second;
  }
  return nullptr;
}

Attrs Attrs::bind(std::int64_t batch) const {
  Attrs out = *this;
  for (auto& item : out.items_) {
    if (auto* shape = std::get_if<Shape>(&item.second)) *shape = shape->bind(batch);
  }
  return out;
}

namespace {

struct Hash {
  std::size_t operator()(const Ints& list) const {
    std::size_t hash = list.size();
    for (const std::int64_t n : list) hash = hash * 31 + static_cast<std::size_t>(n);
    return hash;
  }
  std::size_t operator()(const Shape& shape) const {
    std::size_t hash = static_cast<std::size_t>(shape.rank());
    for (const Dim& dim : shape.dims())
      hash = hash * 31 + (dim.is_symbolic() ? 7u : static_cast<std::size_t>(dim.value()));
    return hash;
  }
  std::size_t operator()(const ProgramRef& program) const { return program.hash(); }
  std::size_t operator()(double value) const { return std::bit_cast<std::uint64_t>(value); }
  template <class T>
  std::size_t operator()(const T& value) const {
    return std::hash<T>()(value);
  }
};

}  // namespace

bool same_attr(const AttrValue& a, const AttrValue& b) {
  const auto *x = std::get_if<double>(&a), *y = std::get_if<double>(&b);
  if (x == nullptr || y == nullptr) return a == b;
  return std::bit_cast<std::uint64_t>(*x) == std::bit_cast<std::uint64_t>(*y);
}

bool operator==(const Attrs& a, const Attrs& b) {
  return std::equal(a.items_.begin(), a.items_.end(), b.items_.begin(), b.items_.end(),
                    [](const Attrs::Item& x, const Attrs::Item& y) {
                      return x.first == y.first && same_attr(x.second, y.second);
                    });
}

std::size_t Attrs::hash() const {
  std::size_t hash = 0;
  for (const auto& [name, value] : items_) {
    hash = hash * 0x100000001b3ull + std::hash<std::string>()(name);
    hash = hash * 0x100000001b3ull + std::visit(Hash(), value);
  }
  return hash;
}

std::string Attrs::text() const {
  if (items_.empty()) return {};
  std::string out = "{";
  for (const auto& [name, value] : items_) {
    out += (out.size() > 1 ? ", " : "") + name + "=" + attr_text(value);
  }
  return out + "}";
}

}  // namespace tessera
