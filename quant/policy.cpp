#include "quant/policy.h"

#include <cmath>
#include <iomanip>
#include <regex>
#include <sstream>

namespace tessera::quant {

namespace {

void require_finite(const std::string& name, const Tensor& tensor) {
  const auto values = tensor.span<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    check(std::isfinite(values[i]), "'", name, "' has ", values[i], " at position ", i,
          "; it cannot be compressed");
  }
}

std::regex compile_pattern(const std::string& pattern) {
  try {
    return std::regex(pattern);
  } catch (const std::regex_error& error) {
    fail("policy rule '", pattern, "' is not a regular expression: ", error.what());
  }
}

}  // namespace

CompressionPlan plan_compression(const std::vector<nn::ParameterSpec>& parameters,
                                 const State& state, const Policy& policy) {
  CompressionPlan plan;
  std::vector<std::regex> patterns;
  for (const auto& rule : policy.rules) patterns.push_back(compile_pattern(rule.pattern));
  std::vector<int> hits(patterns.size());
  bool any = false;
  for (const auto& p : parameters) {
    TensorPlan item{p.name, p.type.shape, std::nullopt, {}};
    if (p.type.shape.rank() >= 2) {
      item.choice = policy.weights;
    } else {
      item.reason = "bias or scale, kept f32";
    }
    for (std::size_t r = 0; r < patterns.size(); ++r) {
      if (!std::regex_match(p.name, patterns[r])) continue;
      ++hits[r];
      item.choice = policy.rules[r].choice;
      item.reason = item.choice ? "" : cat("rule '", policy.rules[r].pattern, "'");
      break;
    }
    if (item.choice) {
      any = true;
      check(p.type.shape.rank() >= 2, "'", p.name, "' is a vector ", p.type.shape.text(),
            ": only weights of rank 2 or more are compressed; narrow the rule");
      const std::int64_t rows = p.type.shape[0].value();
      check(item.choice->group_rows >= 0 && item.choice->group_rows <= rows, "'", p.name,
            "': a group of ", item.choice->group_rows, " rows does not fit ", rows, " rows");
      const std::int64_t group = item.choice->group_rows ? item.choice->group_rows : rows;
      const std::int64_t weights = group * CodebookFormat::row_length(p.type.shape);
      const std::int64_t k = item.choice->spec.size();
      check(k <= weights, "'", p.name, "': ", k, " entries for ", weights, " weights",
            item.choice->group_rows ? " of a group" : "");
      check(state.has(p.name), "the state has no '", p.name, "'");
      require_finite(p.name, state.get(p.name));
    }
    plan.tensors.push_back(std::move(item));
  }
  for (std::size_t r = 0; r < patterns.size(); ++r) {
    check(hits[r] > 0, "policy rule '", policy.rules[r].pattern, "' matches no parameter");
  }
  check(any, "nothing to compress: every parameter is skipped");
  return plan;
}

std::string CompressionPlan::text() const {
  std::ostringstream out;
  for (const auto& item : tensors) {
    out << "  " << std::left << std::setw(16) << item.name << std::setw(14) << item.shape.text();
    if (item.choice) {
      out << item.choice->spec.text() << ", " << item.choice->spec.bits() << " bits a weight, ";
      if (item.choice->group_rows) {
        out << "one codebook per " << item.choice->group_rows << " rows\n";
      } else {
        out << "one codebook\n";
      }
    } else {
      out << "dense: " << item.reason << "\n";
    }
  }
  return out.str();
}

}  // namespace tessera::quant
