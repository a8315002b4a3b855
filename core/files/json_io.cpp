#include "core/files/json_io.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/memory_rule.h"

namespace tessera {

namespace {

// Walks the text and shows how far the parser has read: its callbacks do not say.
struct Cursor {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  const char* at;
  const char** read;
  reference operator*() const { return *at; }
  Cursor& operator++() {
    *read = ++at;
    return *this;
  }
  Cursor operator++(int) {
    Cursor old = *this;
    ++*this;
    return old;
  }
  friend bool operator==(const Cursor& a, const Cursor& b) { return a.at == b.at; }
  friend bool operator!=(const Cursor& a, const Cursor& b) { return a.at != b.at; }
};

std::string escape_step(std::string_view step) {
  std::string out;
  for (const char c : printable(step)) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

// Builds the value, and refuses what nlohmann's own builder lets pass: repeated keys and depth.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view text, const std::string& file, const JsonOptions& options)
      : text_(text), file_(file), options_(options), read_(text.data()) {}

  const char** read() { return &read_; }
  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t& value) override { return put(std::move(value)); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [it, inserted] = open_.back()->emplace(name, nullptr);
    if (!inserted) stop(key_start(), "key ", quote(name), " occurs twice in one object");
    if (options_.key_bytes && open_.size() == 1) (*options_.key_bytes)[name] = key_start();
    slot_ = &*it;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception...] parse error at line 1, column 2: syntax error ...; last read: ..."
    std::string_view what = error.what();
    if (const auto colon = what.find(": "); colon != what.npos) what.remove_prefix(colon + 2);
    what = what.substr(0, what.find("; last read"));
    if (what.starts_with("[json")) what.remove_prefix(std::min(what.find("] ") + 2, what.size()));
    what = what.substr(0, 200);  // it may quote a number of any length
    stop(options_.first_byte + static_cast<std::int64_t>(position > 0 ? position - 1 : 0), what);
  }

 private:
  template <class... Args>
  [[noreturn]] void stop(std::int64_t byte, const Args&... message) const {
    fail(file_, ": byte ", byte, ": ", message...);
  }

  // The quote that opens the key whose closing quote was the last character read.
  std::int64_t key_start() const {
    std::int64_t at = read_ - text_.data() - 2;
    for (; at > 0; --at) {
      if (text_[static_cast<std::size_t>(at)] != '"') continue;
      std::int64_t slashes = 0;
      while (at > slashes && text_[static_cast<std::size_t>(at - slashes - 1)] == '\\') ++slashes;
      if (slashes % 2 == 0) break;
    }
    return options_.first_byte + at;
  }

  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    *slot_ = std::move(value);
    return slot_;
  }

  bool put(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json value) {
    if (static_cast<int>(open_.size()) >= options_.max_depth) {
      stop(options_.first_byte + (read_ - text_.data()) - 1, "lists and objects nest deeper than ",
           options_.max_depth);
    }
    open_.push_back(place(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  const std::string& file_;
  const JsonOptions& options_;
  const char* read_;
  Json root_;
  Json* slot_ = nullptr;  // where the value of the last key goes
  std::vector<Json*> open_;
};

void require_finite(const Json& value) {
  if (value.is_number_float()) {
    check(std::isfinite(value.get<double>()), "JSON cannot hold NaN or infinity");
  }
  if (value.is_structured()) {
    for (const Json& item : value) require_finite(item);
  }
}

}  // namespace

void require_json_memory(std::int64_t bytes, std::int64_t file_bytes, const std::string& file) {
  require_memory(kJsonMemory * bytes, std::max(bytes, file_bytes),
                 cat(file, ": parsing ", bytes, " bytes of JSON takes"));
}

Json parse_json(std::string_view text, const std::string& file, const JsonOptions& options) {
  require_json_memory(std::ssize(text), options.file_bytes, file);
  // The parser takes a NUL for the end of the text.
  if (const auto nul = text.find('\0'); nul != text.npos) {
    fail(file, ": byte ", options.first_byte + static_cast<std::int64_t>(nul),
         ": NUL byte in JSON");
  }
  Builder builder(text, file, options);
  const char* end = text.data() + text.size();
  Json::sax_parse(Cursor{text.data(), builder.read()}, Cursor{end, builder.read()}, &builder);
  return builder.take();
}

Json number_or_null(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

std::string json_text(const Json& value, int indent) {
  require_finite(value);
  try {
    return value.dump(indent);
  } catch (const Json::exception&) {
    fail("text that is not UTF-8 cannot be written as JSON");
  }
}

JsonAt::JsonAt(const JsonAt& parent, const Json& value, std::string_view step)
    : value_(&value), file_(parent.file_), pointer_(parent.pointer_ + "/" + escape_step(step)) {}

std::string JsonAt::where() const {
  return pointer_.empty() ? *file_ + ": " : cat(*file_, ": ", pointer_, ": ");
}

void JsonAt::wrong(std::string_view expected) const {
  if (value_->is_number()) fail("expected ", expected, ", got ", value_->dump());
  fail("expected ", expected, ", got ", value_->is_array() ? "list" : value_->type_name());
}

std::optional<JsonAt> JsonAt::find(std::string_view field) const {
  if (!value_->is_object()) wrong("an object");
  const auto it = value_->find(field);
  if (it == value_->end()) return std::nullopt;
  return JsonAt(*this, *it, field);
}

JsonAt JsonAt::at(std::string_view field) const {
  auto found = find(field);
  if (!found) fail("field ", quote(field), " is missing");
  return *std::move(found);
}

std::vector<std::pair<std::string, JsonAt>> JsonAt::fields(std::string_view expected) const {
  if (!value_->is_object()) wrong(expected);
  std::vector<std::pair<std::string, JsonAt>> out;
  for (const auto& [name, value] : value_->items()) {
    out.emplace_back(name, JsonAt(*this, value, name));
  }
  return out;
}

void JsonAt::only(std::initializer_list<std::string_view> known) const {
  if (!value_->is_object()) wrong("an object");
  for (const auto& [name, value] : value_->items()) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      fail("unknown field ", quote(name));
    }
  }
}

std::size_t JsonAt::size(std::string_view expected) const {
  if (!value_->is_array()) wrong(expected);
  return value_->size();
}

JsonAt JsonAt::item(std::size_t i) const {
  if (i >= size()) fail("expected at least ", i + 1, " items, got ", value_->size());
  return JsonAt(*this, (*value_)[i], std::to_string(i));
}

std::vector<JsonAt> JsonAt::items(std::string_view expected) const {
  const std::size_t n = size(expected);
  std::vector<JsonAt> out;
  out.reserve(n);
  for (std::size_t i = 0; i < n; ++i) out.push_back(item(i));
  return out;
}

std::string JsonAt::text(std::string_view expected) const {
  if (!value_->is_string()) wrong(expected);
  return value_->get<std::string>();
}

bool JsonAt::boolean() const {
  if (!value_->is_boolean()) wrong("true or false");
  return value_->get<bool>();
}

double JsonAt::number() const {
  if (!value_->is_number()) wrong("a number");
  return value_->get<double>();
}

double JsonAt::number_or(double null) const {
  return value_->is_null() ? null : number();
}

std::int64_t JsonAt::integer(std::int64_t min, std::int64_t max) const {
  if (!value_->is_number_integer()) wrong("an integer");
  const bool fits = !value_->is_number_unsigned() ||
                    value_->get<std::uint64_t>() <=
                        static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const std::int64_t n = fits ? value_->get<std::int64_t>() : 0;
  if (!fits || n < min || n > max) {
    if (max == std::numeric_limits<std::int64_t>::max() && fits) {
      fail("expected an integer of at least ", min, ", got ", n);
    }
    fail("expected an integer in [", min, ", ", max, "], got ", value_->dump());
  }
  return n;
}

std::vector<std::int64_t> JsonAt::integers(std::string_view expected, std::int64_t min,
                                           std::int64_t max) const {
  const std::size_t n = size(expected);
  std::vector<std::int64_t> out;
  out.reserve(n);
  for (std::size_t i = 0; i < n; ++i) out.push_back(item(i).integer(min, max));
  return out;
}

std::vector<double> JsonAt::numbers(std::string_view expected) const {
  const std::size_t n = size(expected);
  std::vector<double> out;
  out.reserve(n);
  for (std::size_t i = 0; i < n; ++i) out.push_back(item(i).number());
  return out;
}

}  // namespace tessera
