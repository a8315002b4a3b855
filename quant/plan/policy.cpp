#include "quant/plan/policy.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <regex>
#include <sstream>
#include <utility>

#include "core/words.h"
#include "quant/pack/codebook_tensor.h"

namespace tessera::quant {

namespace {

void require_finite(const std::string& name, const Tensor& tensor) {
  const auto values = tensor.span<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    check(std::isfinite(values[i]), "'", name, "' has ", values[i], " at position ", i,
          "; it cannot be compressed");
  }
}

std::regex compile_pattern(const std::string& what, const std::string& pattern) {
  try {
    return std::regex(pattern);
  } catch (const std::regex_error& error) {
    fail(what, " '", pattern, "' is not a regular expression: ", error.what());
  }
}

std::string name_of(const PolicyRule& rule) {
  return rule.origin.empty() ? "policy rule" : rule.origin + ": rule";
}

// In the names of torchvision's networks, which are those of models/.
constexpr const char* kStageConvolutions = R"((.*\.)?layer[0-9]+\..*conv[0-9]+\.weight)";
constexpr const char* kSensitiveOfDetectors = R"(head\.box\..*|head\..*\.output\.weight)";

// In the names of nn::Lstm.
constexpr const char* kRecurrentMatrices = R"((.*\.)?weight_[ih]h)";

constexpr int kEntriesOf8Bits = 256;
// Below this many weights an entry a codebook takes a large part of what the indices save.
constexpr std::int64_t kWeightsPerEntry = 2;

std::int64_t rows_of(const nn::ParameterSpec& p) {
  return CodebookFormat::rows(p.type.shape);
}

bool is_weight(const nn::ParameterSpec& p) {
  return p.type.shape.rank() >= 2;
}

// What the policy says of a weight that no rule names, and why if it is not the default.
void choose(TensorPlan& item, const nn::ParameterSpec& p, const Policy& policy, bool first,
            const std::string& eight_bits) {
  if (p.frozen && !policy.frozen) {
    item.reason = "frozen";
    return;
  }
  item.choice = policy.weights;
  item.source = TensorPlan::Source::weights;
  const Shape& shape = p.type.shape;
  if (shape.numel() < policy.min_size) {
    item.choice.reset();
    item.reason =
        cat(shape.numel(), " weights, fewer than the least size to compress, ", policy.min_size);
  } else if (!eight_bits.empty()) {
    item.source = TensorPlan::Source::named;
    item.reason = eight_bits;
    item.choice = TensorChoice{CodebookSpec::adaptive(kEntriesOf8Bits), 0, policy.weights.sparse};
    if (shape.numel() < kWeightsPerEntry * kEntriesOf8Bits) {
      item.choice.reset();
      item.reason += cat(", too small for ", kEntriesOf8Bits, " entries");
    }
  } else if (const std::int64_t row = CodebookFormat::row_length(shape),
             d = policy.weights.spec.vector_len();
             row % d != 0) {
    item.choice.reset();
    item.reason = cat("rows of ", row, " weights are not whole vectors of ", d);
  } else if (policy.depthwise_per_channel && !first && shape.rank() == 4 && shape[1].is_one()) {
    item.source = TensorPlan::Source::depthwise;
    item.reason = "depthwise";
    if (policy.weights.spec.scale_block() == 0)
      item.choice->group_rows = depthwise_group_rows(shape, policy.weights.spec.size() * d);
  }
}

void check_choice(const TensorPlan& item, const nn::ParameterSpec& p, const State& state) {
  check(item.choice->group_rows >= 0, "'", p.name, "': a group of ", item.choice->group_rows,
        " rows");
  check(item.choice->group_rows == 0 || item.choice->spec.scale_block() == 0, "'", p.name,
        "': ", item.choice->spec.text(),
        " has the same entries for all rows, so it takes no row groups");
  check(item.choice->sparse >= 0 && item.choice->sparse < 1, "'", p.name, "': a sparse share of ",
        item.choice->sparse, "; it must be at least 0 and below 1");
  const std::int64_t row = CodebookFormat::row_length(item.shape),
                     d = item.choice->spec.vector_len();
  check(row % d == 0, "'", p.name, "': rows of ", row, " weights are not whole vectors of ", d);
  check(d == 1 || item.choice->sparse == 0, "'", p.name, "': ", item.choice->spec.text(),
        " takes no sparse correction");
  check(state.has(p.name), "the state has no '", p.name, "'");
  require_finite(p.name, state.get(p.name));
}

// Of a tensor with entries of its own. One that is only what the policy's default says stays dense
// where there are fewer weights than entries.
void check_size(TensorPlan& item) {
  const std::int64_t rows = item.shape[0].value();
  const std::int64_t group = item.choice->group_rows ? item.choice->group_rows : rows;
  const int d = item.choice->spec.vector_len();
  const std::int64_t weights = group * CodebookFormat::row_length(item.shape) / d;
  const std::int64_t k = item.choice->spec.size();
  const bool by_default =
      item.source == TensorPlan::Source::weights || item.source == TensorPlan::Source::depthwise;
  if (k > weights && by_default && item.choice->group_rows == 0) {
    item.choice.reset();
    item.reason = cat(weights, d == 1 ? " weights" : " vectors", ", too few for ", k, " entries");
    return;
  }
  check(k <= weights, "'", item.name, "': ", k, " entries for ", weights,
        d == 1 ? " weights" : " vectors", item.choice->group_rows ? " of a group" : "");
}

void require_any(const CompressionPlan& plan, const Policy& policy) {
  const auto is = [&](auto condition) { return std::ranges::any_of(plan.tensors, condition); };
  check(is([](const TensorPlan& item) { return item.choice.has_value(); }),
        "nothing to compress: every parameter is skipped",
        is([](const TensorPlan& item) { return item.reason == "frozen"; })
            ? " or frozen (Policy::frozen)"
            : "",
        policy.only.empty() ? "" : cat("; no weight's name matches '", policy.only, "'"));
}

// The tensors that one pattern joins.
void share(CompressionPlan& plan, const std::string& pattern) {
  const std::regex regex = compile_pattern("shared codebook", pattern);
  const TensorPlan* first = nullptr;
  int members = 0;
  std::int64_t weights = 0;
  for (TensorPlan& item : plan.tensors) {
    if (!item.choice || !std::regex_match(item.name, regex)) continue;
    check(item.shares.empty(), "shared codebook '", pattern, "': '", item.name,
          "' already shares the codebook of '", item.shares, "'");
    check(item.choice->group_rows == 0, "shared codebook '", pattern, "': '", item.name,
          "' has one codebook per ", item.choice->group_rows, " rows");
    check(item.choice->spec.scale_block() == 0, "shared codebook '", pattern, "': '", item.name,
          "' has scales of its own, ", item.choice->spec.text());
    check(item.choice->spec.vector_len() == 1, "shared codebook '", pattern, "': '", item.name,
          "' has entries of several weights, ", item.choice->spec.text());
    if (first == nullptr) first = &item;
    check(item.choice->spec == first->choice->spec, "shared codebook '", pattern, "': '",
          first->name, "' is ", first->choice->spec.text(), ", '", item.name, "' ",
          item.choice->spec.text());
    check(item.choice->sparse == first->choice->sparse, "shared codebook '", pattern, "': '",
          first->name, "' is corrected by a share of ", first->choice->sparse, ", '", item.name,
          "' of ", item.choice->sparse);
    item.shares = first->name;
    weights += item.shape.numel();
    ++members;
  }
  check(members >= 2, "shared codebook '", pattern, "' matches ", members,
        " compressed tensors; it needs two or more");
  check(first->choice->spec.size() <= weights, "shared codebook '", pattern,
        "': ", first->choice->spec.size(), " entries for ", weights, " weights");
}

}  // namespace

void Policy::use(std::string_view preset) {
  if (preset == "first-last-8") {
    first_last_8 = true;
  } else if (preset == "depthwise-per-channel") {
    depthwise_per_channel = true;
  } else if (preset == "stages") {
    only = kStageConvolutions;
  } else if (preset == "recurrent") {
    only = kRecurrentMatrices;
  } else if (preset == "detector-8") {
    first_and_8 = kSensitiveOfDetectors;
  } else {
    require_known("preset", preset,
                  std::vector<std::string>{"all", "first-last-8", "depthwise-per-channel", "stages",
                                           "recurrent", "detector-8"});
  }
}

std::int64_t depthwise_group_rows(const Shape& shape, std::int64_t k) {
  const std::int64_t row = CodebookFormat::row_length(shape),
                     rows = (kWeightsPerEntry * k + row - 1) / row;
  return rows >= CodebookFormat::rows(shape) ? 0 : rows;
}

CompressionPlan plan_compression(const std::vector<nn::ParameterSpec>& parameters,
                                 const State& state, const Policy& policy) {
  CompressionPlan plan;
  std::vector<std::regex> patterns;
  for (const auto& rule : policy.rules)
    patterns.push_back(compile_pattern(name_of(rule), rule.pattern));
  std::vector<int> hits(patterns.size()), vectors(patterns.size());
  std::optional<std::regex> only, eight;
  if (!policy.first_and_8.empty()) eight = compile_pattern("policy", policy.first_and_8);
  if (!policy.only.empty()) only = compile_pattern("policy", policy.only);
  const auto first = std::find_if(parameters.begin(), parameters.end(), is_weight);
  const auto last = std::find_if(parameters.rbegin(), parameters.rend(), is_weight);
  for (const auto& p : parameters) {
    TensorPlan item{p.name,       p.type.shape,
                    std::nullopt, "bias or scale, kept f32",
                    {},           TensorPlan::Source::none};
    if (is_weight(p)) {
      item.reason.clear();
      if (only && !std::regex_match(p.name, *only)) {
        item.reason = cat("not of '", policy.only, "'");
      } else {
        const bool is_first = &p == &*first;
        std::string why;
        if (is_first && (policy.first_last_8 || eight))
          why = "first layer";
        else if (policy.first_last_8 && &p == &*last)
          why = "last layer";
        else if (eight && std::regex_match(p.name, *eight))
          why = "of the heads";
        choose(item, p, policy, is_first, why);
      }
    }
    bool decided = false;
    for (std::size_t r = 0; r < patterns.size(); ++r) {
      if (!std::regex_match(p.name, patterns[r])) continue;
      ++hits[r];
      const bool for_weights = policy.rules[r].choice.has_value();
      vectors[r] += for_weights && !is_weight(p);
      if (std::exchange(decided, true) || (for_weights && !is_weight(p))) continue;
      item.source = TensorPlan::Source::named;
      item.choice = policy.rules[r].choice;
      item.reason = cat("rule '", policy.rules[r].pattern, "'");
    }
    if (item.choice) {
      if (item.choice->group_rows >= rows_of(p)) item.choice->group_rows = 0;
      check_choice(item, p, state);
    }
    plan.tensors.push_back(std::move(item));
  }
  for (std::size_t r = 0; r < patterns.size(); ++r) {
    const PolicyRule& rule = policy.rules[r];
    check(hits[r] > 0, name_of(rule), " '", rule.pattern, "' matches no parameter");
    check(hits[r] > vectors[r], name_of(rule), " '", rule.pattern,
          "' matches vectors only (biases, scales); codebooks are for weights of rank 2 or more");
  }
  require_any(plan, policy);
  for (const std::string& pattern : policy.shared) share(plan, pattern);
  for (TensorPlan& item : plan.tensors) {
    if (item.choice && item.shares.empty()) check_size(item);
  }
  require_any(plan, policy);
  return plan;
}

const TensorPlan* CompressionPlan::find(const std::string& name) const {
  for (const auto& item : tensors) {
    if (item.name == name) return item.choice ? &item : nullptr;
  }
  return nullptr;
}

std::vector<std::string> CompressionPlan::compressed() const {
  std::vector<std::string> out;
  for (const auto& item : tensors) {
    if (item.choice) out.push_back(item.name);
  }
  return out;
}

std::vector<const TensorPlan*> CompressionPlan::sharers(const TensorPlan& item) const {
  std::vector<const TensorPlan*> out;
  for (const TensorPlan& other : tensors) {
    if (&other == &item || (!item.shares.empty() && other.shares == item.shares))
      out.push_back(&other);
  }
  return out;
}

void CompressionPlan::require_plain(const std::string& method) const {
  for (const auto& item : tensors) {
    check(!item.choice || (item.choice->sparse == 0 && item.shares.empty()), method, ": '",
          item.name, "' is to have a ",
          item.shares.empty() ? "sparse correction" : "shared codebook",
          "; dc, idc and lc fit those");
  }
}

std::string CompressionPlan::text() const {
  std::size_t name_width = 16, shape_width = 14;
  for (const auto& item : tensors) {
    name_width = std::max(name_width, item.name.size() + 2);
    shape_width = std::max(shape_width, item.shape.text().size() + 2);
  }
  std::ostringstream out;
  for (const auto& item : tensors) {
    out << "  " << std::left << std::setw(static_cast<int>(name_width)) << item.name
        << std::setw(static_cast<int>(shape_width)) << item.shape.text();
    if (item.choice) {
      const auto rows = item.choice->group_rows;
      const std::string scope =
          !item.shares.empty()
              ? cat("one codebook for ", sharers(item).size(), " tensors, '", item.shares, "'")
          : rows == 0 ? "one codebook"
                      : cat("one codebook per ", rows, rows == 1 ? " row" : " rows");
      const std::string correction = cat(
          ", ", SparsePart::count(item.choice->sparse, item.shape.numel()), " weights corrected");
      const std::int64_t block = item.choice->spec.scale_block();
      const int d = item.choice->spec.vector_len();
      out << item.choice->spec.text() << ", " << item.choice->spec.bits()
          << (d == 1 ? " bits a weight, " : cat(" bits for ", d, " weights, ")) << scope
          << (block == 0  ? ""
              : block > 0 ? cat(", a scale per ", block, " weights of a row")
                          : ", a scale per row")
          << (item.choice->sparse > 0 ? correction : "")
          << (item.reason.empty() ? "" : " (" + item.reason + ")") << "\n";
    } else {
      out << "dense: " << item.reason << "\n";
    }
  }
  return out.str();
}

}  // namespace tessera::quant
