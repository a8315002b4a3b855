#include "core/files/import.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <regex>

#include "core/files/atomic_file.h"
#include "core/files/foreign.h"
#include "core/files/json_io.h"
#include "core/files/npz.h"
#include "core/files/unpack.h"
#include "core/memory_rule.h"

namespace tessera {

namespace {

std::regex parse_regex(const std::string& text, const std::string& what) {
  try {
    return std::regex(text);
  } catch (const std::regex_error& error) {
    fail(what, ": ", error.what());
  }
}

// std::regex recurses per character: names that no program gives are matched by no pattern.
bool matches(const std::string& name, const std::regex& pattern, std::smatch& found) {
  constexpr std::size_t kMaxName = 1000;
  return name.size() <= kMaxName && std::regex_match(name, found, pattern);
}

// Names that whole-match one of several patterns.
class Patterns {
 public:
  Patterns(const std::vector<std::string>& texts, const char* what) {
    for (const auto& text : texts) {
      patterns_.push_back(parse_regex(text, cat("import: ", what, " ", quote(text))));
    }
  }
  bool match(const std::string& name) const {
    for (const auto& pattern : patterns_) {
      if (std::smatch found; matches(name, pattern, found)) return true;
    }
    return false;
  }
  // Of `texts`, of which this was made, those that match none of the names.
  template <class Names>
  void add_idle(const std::vector<std::string>& texts, const Names& names,
                std::vector<std::string>& idle) const {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const bool any = std::any_of(names.begin(), names.end(), [&](const auto& entry) {
        std::smatch found;
        return matches(entry.first, patterns_[i], found);
      });
      if (!any) idle.push_back(texts[i]);
    }
  }

 private:
  std::vector<std::regex> patterns_;
};

// What PyTorch keeps beside the running moments of a batch norm: how many batches went into them.
bool is_batch_counter(const std::string& name, const Tensor& tensor) {
  constexpr std::string_view kName = "num_batches_tracked";
  const bool named = name == kName || name.ends_with(cat(".", kName));
  return named && tensor.numel() == 1;
}

// What happens to a tensor on the way.
struct Change {
  bool transpose = false;
  std::vector<std::int64_t> parts = {};  // of the first axis, in the order in which they are taken

  std::string text() const {
    std::string out = transpose ? "transposed" : "";
    if (!parts.empty()) out += cat(out.empty() ? "" : ", ", "parts ", listed(parts));
    return out;
  }
  static std::string listed(const std::vector<std::int64_t>& parts) {
    std::string out;
    for (const std::int64_t part : parts) out += cat(out.empty() ? "" : ",", part);
    return out;
  }
};

struct Target {
  std::string ours;
  Change change = {};
};

// "2,0,1,3": each of 0 to n - 1 once, n at least 2.
std::vector<std::int64_t> parse_parts(const std::string& text, const std::string& rule) {
  std::vector<std::int64_t> out;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, end - at);
    const bool digits =
        !part.empty() && part.size() <= 2 &&
        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    out.push_back(digits ? std::stoi(part) : -1);
    at = end + 1;
  }
  std::vector<std::int64_t> sorted = out;
  std::sort(sorted.begin(), sorted.end());
  bool good = out.size() >= 2;
  for (std::size_t i = 0; i < sorted.size(); ++i) good &= sorted[i] == static_cast<std::int64_t>(i);
  check(good, "import rule ", quote(rule), ": expected parts(...) with each of 0 to n - 1 once");
  return out;
}

class Rule {
 public:
  explicit Rule(const std::string& text) {
    std::size_t equals = text.find('=');
    const bool is_regex = text.starts_with("/");
    if (is_regex) equals = text.find("/=", 1) == text.npos ? text.npos : text.find("/=", 1) + 1;
    check(equals != text.npos && equals > (is_regex ? 2u : 0u) && equals + 1 < text.size(),
          "import rule ", quote(text), ": expected theirs=ours, or /regex/=ours");
    ours_ = text.substr(equals + 1);
    constexpr std::string_view kParts = ":parts(";
    if (const std::size_t at = ours_.find(kParts); at != ours_.npos && ours_.ends_with(")")) {
      const std::size_t first = at + kParts.size();
      change_.parts = parse_parts(ours_.substr(first, ours_.size() - 1 - first), text);
      ours_.resize(at);
    }
    if (ours_.ends_with(":t")) {
      change_.transpose = true;
      ours_.resize(ours_.size() - 2);
    }
    check(!ours_.empty(), "import rule ", quote(text), ": the name after '=' is empty");
    theirs_ = is_regex ? text.substr(1, equals - 2) : text.substr(0, equals);
    if (is_regex) regex_ = parse_regex(theirs_, cat("import rule ", quote(text)));
  }

  std::optional<Target> match(const std::string& theirs) const {
    if (!regex_) return theirs == theirs_ ? std::optional(Target{ours_, change_}) : std::nullopt;
    std::smatch found;
    if (!matches(theirs, *regex_, found)) return std::nullopt;
    return Target{found.format(ours_), change_};
  }

 private:
  std::string theirs_, ours_;
  std::optional<std::regex> regex_;
  Change change_;
};

Target target_of(const std::string& theirs, const std::vector<Rule>& rules) {
  for (const Rule& rule : rules) {
    if (auto target = rule.match(theirs)) return *std::move(target);
  }
  return {theirs};
}

Tensor transposed(const Tensor& x) {
  const std::int64_t rows = x.shape()[0].value(), columns = x.shape()[1].value();
  Tensor out(x.dtype(), {columns, rows});
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      set_element(out, j * rows + i, element(x, i * columns + j));
    }
  }
  return out;
}

Tensor in_order(const Tensor& x, const std::vector<std::int64_t>& parts) {
  Tensor out(x.dtype(), x.shape());
  const std::int64_t n = std::ssize(parts), rows = x.shape()[0].value() / n;
  const std::int64_t bytes = n == 0 ? 0 : x.bytes() / n;
  for (std::int64_t i = 0; i < n && rows > 0; ++i)
    std::memcpy(out.data() + i * bytes, x.data() + parts[static_cast<std::size_t>(i)] * bytes,
                static_cast<std::size_t>(bytes));
  return out;
}

// Why a tensor cannot become `wanted`, or "".
std::string obstacle(const Tensor& theirs, const Tensor& wanted, const Change& change) {
  const bool transpose = change.transpose;
  if (transpose && theirs.shape().rank() != 2) {
    return cat("only rank 2 can be transposed, got ", theirs.text_type());
  }
  Shape shape = theirs.shape();
  if (transpose) std::swap(shape[0], shape[1]);
  if (!(shape == wanted.shape())) {
    const bool reversed = shape.rank() == 2 && wanted.shape().rank() == 2 &&
                          shape[0] == wanted.shape()[1] && shape[1] == wanted.shape()[0];
    return cat("expected ", wanted.text_type(), ", got ", theirs.text_type(),
               reversed && !transpose ? "; a rule ending in :t transposes it" : "");
  }
  if (const std::int64_t parts = std::ssize(change.parts); parts > 0) {
    if (shape.rank() < 1 || shape[0].value() % parts != 0)
      return cat("the first axis of ", theirs.text_type(), transpose ? " transposed" : "",
                 " has no ", parts, " equal parts");
  }
  const bool convertible = is_floating(theirs.dtype()) && is_floating(wanted.dtype());
  if (theirs.dtype() != wanted.dtype() && !convertible) {
    return cat("expected ", wanted.text_type(), ", got ", theirs.text_type());
  }
  return {};
}

void require_no_nan(const Tensor& tensor, const std::string& file, const std::string& name) {
  if (!is_floating(tensor.dtype())) return;
  std::int64_t i = 0;
  while (i < tensor.numel() && !std::isnan(element(tensor, i))) ++i;
  if (i < tensor.numel()) fail(file, ": tensor ", quote(name), ": element ", i, " is NaN");
}

}  // namespace

void ImportOptions::validate() const {
  for (const std::string& text : rules) Rule{text};
  Patterns(ignored, "ignored");
  Patterns(optional, "optional");
}

std::string ImportReport::text() const {
  std::string out = cat(file, ": ", matched.size(), " imported, ", missing.size(), " missing, ",
                        unused.size(), " unused, ", mismatched.size(), " mismatched\n");
  for (const auto& match : matched) {
    if (match.theirs == match.ours && match.change.empty()) continue;
    out += cat("  ", match.ours, ": from ", printable(match.theirs), " ", match.type,
               match.change.empty() ? "" : ", ", match.change, "\n");
  }
  for (const auto& name : missing) out += cat("  missing: ", name, "\n");
  for (const auto& name : unused) out += cat("  unused: ", printable(name), "\n");
  for (const auto& m : mismatched) {
    out += cat("  mismatch: ", m.ours, " from ", printable(m.theirs), ": ", m.cause, "\n");
  }
  for (const auto& name : ignored) out += cat("  ignored: ", printable(name), "\n");
  if (!counters.empty()) {
    out += cat("  left out: ", counters.size(), " counters of PyTorch's batch norms (",
               printable(counters.front()), counters.size() > 1 ? ", ..." : "", ")\n");
  }
  for (const auto& name : kept) out += cat("  kept as it was: ", name, "\n");
  return out;
}

TensorMap read_weights(const std::filesystem::path& path) {
  std::string bytes = InputFile(path).all();
  const std::int64_t file_bytes = std::ssize(bytes);
  if (bytes.starts_with(kXzMagic)) {
    // What is inside, and tensors made of it that take up to twice as much: halves become floats.
    const std::int64_t most = (memory_limit(file_bytes) - file_bytes) / 3;
    bytes = unpack_xz(bytes, most, path.string());
  }
  refuse_foreign(bytes, path.string());
  if (bytes.starts_with(kZipMagic) || bytes.starts_with(kEmptyZipMagic))
    return parse_npz(bytes, path.string(), file_bytes);
  return parse_safetensors(bytes, path.string()).tensors;
}

ImportReport import_weights(const std::filesystem::path& path, State& state,
                            const ImportOptions& options) {
  options.validate();
  return import_tensors(read_weights(path), path.string(), state, options);
}

ImportReport import_tensors(const TensorMap& tensors, const std::string& file, State& state,
                            const ImportOptions& options) {
  std::vector<Rule> rules;
  for (const std::string& text : options.rules) rules.emplace_back(text);
  const Patterns ignored(options.ignored, "ignored"), optional(options.optional, "optional");
  ImportReport report;
  report.file = file;
  report.sha256 = make_safetensors(tensors).sha256();
  std::map<std::string, std::string> sources;  // ours -> theirs
  TensorMap values;
  for (const auto& [theirs, tensor] : tensors) {
    if (ignored.match(theirs)) {
      report.ignored.push_back(theirs);
      continue;
    }
    const Target target = target_of(theirs, rules);
    if (!state.has(target.ours)) {
      (is_batch_counter(theirs, tensor) ? report.counters : report.unused).push_back(theirs);
      continue;
    }
    const auto [source, fresh] = sources.emplace(target.ours, theirs);
    check(fresh, report.file, ": tensors ", quote(source->second), " and ", quote(theirs),
          " both become ", quote(target.ours));
    const Tensor& wanted = state.get(target.ours);
    if (std::string cause = obstacle(tensor, wanted, target.change); !cause.empty()) {
      report.mismatched.push_back({theirs, target.ours, std::move(cause)});
      continue;
    }
    require_no_nan(tensor, report.file, theirs);
    Tensor value = target.change.transpose ? transposed(tensor) : tensor;
    if (!target.change.parts.empty()) value = in_order(value, target.change.parts);
    if (value.dtype() != wanted.dtype()) value = value.to(wanted.dtype());
    report.matched.push_back({theirs, target.ours, tensor.text_type(), target.change.text()});
    values[target.ours] = std::move(value);
  }
  for (const auto& [ours, entry] : state.entries()) {
    if (sources.contains(ours)) continue;
    (optional.match(ours) ? report.kept : report.missing).push_back(ours);
  }
  for (std::size_t r = 0; r < rules.size(); ++r) {
    const bool any = std::any_of(tensors.begin(), tensors.end(), [&](const auto& entry) {
      return rules[r].match(entry.first).has_value();
    });
    if (!any) report.idle.push_back(options.rules[r]);
  }
  ignored.add_idle(options.ignored, tensors, report.idle);
  optional.add_idle(options.optional, state.entries(), report.idle);
  if (options.strict && !report.complete()) {
    std::string lines = report.text();
    lines.pop_back();
    for (std::size_t at = 0; (at = lines.find("\n  ", at)) != lines.npos;)
      lines.replace(at, 3, "; ");
    fail(lines);
  }
  for (auto& [ours, value] : values) state.set(ours, std::move(value));
  return report;
}

}  // namespace tessera
