// JSON from files that are not trusted. Private to the library: it includes nlohmann/json, so no
// public header may include it (include it from .cpp files).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/text.h"

namespace tessera {

using Json = nlohmann::json;  // objects are ordered by key, so the text of a value is canonical

// A parsed document takes up to this many times its text: lists of empty objects do.
inline constexpr std::int64_t kJsonMemory = 50;
// Throws Error when parsing `bytes` bytes of a file of `file_bytes` would take more memory than the
// rule gives (core/memory_rule.h). For those who want to know before they read.
void require_json_memory(std::int64_t bytes, std::int64_t file_bytes, const std::string& file);

struct JsonOptions {
  int max_depth = 64;           // nested lists and objects
  std::int64_t first_byte = 0;  // where the text starts in the file, for messages
  std::int64_t file_bytes = 0;  // of the file, where that is more than the text
  // When set, receives the byte in the file at which each key of the outermost object starts.
  std::map<std::string, std::int64_t>* key_bytes = nullptr;
};

// Parses one JSON value in UTF-8. Throws Error "FILE: byte N: ..." for a syntax error, bad UTF-8, a
// NUL byte, trailing text, a key that occurs twice in its object, and too deep nesting; and when it
// would take more memory than require_json_memory lets it.
Json parse_json(std::string_view text, const std::string& file, const JsonOptions& options = {});

// The text of a value: one line, or indented. Throws Error for a string that is not UTF-8 and for
// NaN and infinity, which JSON does not have.
std::string json_text(const Json& value, int indent = -1);
// A number, or null for NaN and infinity, which JSON cannot hold.
Json number_or_null(double value);

// A value of a document together with its place, for messages that say where and what:
//   model.json: /nodes/3/shape: expected a list of dimensions, got string
// Refers to the document, which must outlive it. All readers throw Error.
class JsonAt {
 public:
  // The root of a document; `file` starts every message.
  JsonAt(const Json& root, std::string file)
      : value_(&root), file_(std::make_shared<const std::string>(std::move(file))) {}

  const Json& value() const { return *value_; }
  const std::string& file() const { return *file_; }
  const std::string& pointer() const { return pointer_; }  // RFC 6901

  // Fields of an object.
  JsonAt at(std::string_view field) const;
  std::optional<JsonAt> find(std::string_view field) const;
  bool has(std::string_view field) const { return find(field).has_value(); }
  std::vector<std::pair<std::string, JsonAt>> fields(std::string_view expected = "an object") const;
  // Fails when the object has a field that is not listed.
  void only(std::initializer_list<std::string_view> fields) const;

  // Calls fn(name, value) with one field after the other.
  template <class Fn>
  void each_field(Fn&& fn, std::string_view expected = "an object") const {
    if (!value_->is_object()) wrong(expected);
    for (const auto& [name, value] : value_->items()) fn(name, JsonAt(*this, value, name));
  }

  // Items of a list; `expected` is how the message names what should have been here.
  std::size_t size(std::string_view expected = "a list") const;
  JsonAt item(std::size_t i) const;
  std::vector<JsonAt> items(std::string_view expected = "a list") const;
  // Calls fn with one item after the other: of a long list, items() takes much memory.
  template <class Fn>
  void each(Fn&& fn, std::string_view expected = "a list") const {
    const std::size_t n = size(expected);
    for (std::size_t i = 0; i < n; ++i) fn(item(i));
  }

  std::string text(std::string_view expected = "a string") const;
  bool boolean() const;
  double number() const;
  double number_or(double null) const;  // `null` for null
  std::int64_t integer(std::int64_t min = std::numeric_limits<std::int64_t>::min(),
                       std::int64_t max = std::numeric_limits<std::int64_t>::max()) const;
  std::vector<std::int64_t> integers(
      std::string_view expected = "a list of integers",
      std::int64_t min = std::numeric_limits<std::int64_t>::min(),
      std::int64_t max = std::numeric_limits<std::int64_t>::max()) const;
  std::vector<double> numbers(std::string_view expected = "a list of numbers") const;

  // Throws Error "FILE: /pointer: message".
  template <class... Args>
  [[noreturn]] void fail(const Args&... message) const {
    tessera::fail(where(), message...);
  }
  // Runs a parser of text (parse_type, ...) and puts the place in front of its Error.
  template <class Fn>
  auto locate(Fn&& parse) const {
    try {
      return parse(*this);
    } catch (const Error& error) {
      if (std::string_view(error.what()).starts_with(where())) throw;
      fail(error.what());
    }
  }

 private:
  JsonAt(const JsonAt& parent, const Json& value, std::string_view step);
  std::string where() const;
  [[noreturn]] void wrong(std::string_view expected) const;

  const Json* value_;
  std::shared_ptr<const std::string> file_;
  std::string pointer_;
};

}  // namespace tessera
