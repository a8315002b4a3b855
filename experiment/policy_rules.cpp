// What a compression's rules, presets and least size say: --policy, --rule, --policy-file,
// --min-size and --share.
#include <sstream>

#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "experiment/recipe.h"

namespace tessera::experiment {

namespace {

// 'regex=codebook', with /gROWS and /sSHARE behind it, or 'regex=skip'. `sparse`: without /s;
// `origin`: where it stands, if not in --rule.
quant::PolicyRule parse_rule(const std::string& text, double sparse,
                             const std::string& origin = "") {
  const std::string where = (origin.empty() ? "--rule " : origin + ": ") + quote(text);
  const std::size_t equals = text.rfind('=');
  check(equals != text.npos && equals > 0 && equals + 1 < text.size(), where,
        ": expected 'regex=codebook' (such as 'fc3.weight=adaptive:16') or 'regex=skip'");
  quant::PolicyRule rule{text.substr(0, equals), std::nullopt, origin};
  std::string choice = text.substr(equals + 1);
  if (choice == "skip") return rule;
  std::int64_t group_rows = 0;
  if (const std::size_t share = choice.rfind("/s"); share != choice.npos) {
    sparse = number_list(choice.substr(share + 2), where + ": sparse share", 0, 0.5)[0];
    choice.resize(share);
  }
  if (const std::size_t group = choice.rfind("/g"); group != choice.npos) {
    group_rows = integer_list(choice.substr(group + 2), where + ": rows", 1, 1 << 30)[0];
    choice.resize(group);
  }
  const auto spec = naming(where, [&] { return quant::CodebookSpec::parse(choice); });
  rule.choice = quant::TensorChoice{spec, group_rows, sparse};
  return rule;
}

}  // namespace

std::vector<CompressRecipe::FileRule> read_policy_file(const std::string& file) {
  constexpr const char* kBlanks = " \t\r";
  std::vector<CompressRecipe::FileRule> out;
  std::istringstream lines(read_file(file));
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    // Regular expressions may hold '#'; a comment has a blank before it.
    for (std::size_t at = 0; (at = line.find('#', at)) != line.npos; ++at) {
      if (at == 0 || std::isspace(static_cast<unsigned char>(line[at - 1]))) line.resize(at);
    }
    const std::size_t begin = line.find_first_not_of(kBlanks);
    if (begin == line.npos) continue;
    line = line.substr(begin, line.find_last_not_of(kBlanks) + 1 - begin);
    const std::string origin = cat(file, ":", number);
    parse_rule(line, 0, origin);
    out.push_back({line, origin});
  }
  check(!out.empty(), file, ": holds no rule; expected lines such as 'fc3.weight=adaptive:16'");
  return out;
}

void CompressRecipe::add_policy_flags(FlagList& options) {
  auto add = options.add_options();
  add("policy", text_flag(policies, "LIST"),
      "all, first-last-8 (first and last layer 8 bits), depthwise-per-channel (depthwise filters "
      "in small groups), stages (only the convolutions inside a residual network's stages), "
      "recurrent (only the matrices of LSTMs), detector-8 (a detector's first layer, box branch "
      "and "
      "head outputs 8 bits)");
  add("rule", repeated_flag(rules, "RULE"),
      "'regex=adaptive:16', with /g10 for groups of rows and /s0.01 for a sparse share, or "
      "'regex=skip'; wins over --policy; may be repeated");
  add("policy-file",
      text_flag([this](const std::string& file) { file_rules = read_policy_file(file); }, "FILE"),
      "more rules, one a line ('#' begins a comment); --rule wins over them");
  add("min-size", flag(min_size),
      "weights of a tensor below which it stays f32, unless a rule names it");
  add("share", repeated_flag(shared, "REGEX"),
      "the weights it matches read one common codebook; may be repeated");
}

Config CompressRecipe::policy_config() const {
  Config out;
  std::size_t i = 0;
  for (const std::string& rule : rules) out[cat("rule.", i++)] = rule;
  for (const FileRule& rule : file_rules) out[cat("rule.", i++)] = rule.text;
  if (min_size > 0) out["min_size"] = std::to_string(min_size);
  return out;
}

quant::Policy CompressRecipe::policy(const std::string& codebook, std::int64_t group_rows,
                                     double sparse) const {
  // With a target every tensor gets a rule of its own, or keeps what a preset says.
  const std::string usual = SizeTarget::parse(codebook) ? "adaptive:2" : codebook;
  quant::Policy out{{quant::CodebookSpec::parse(usual), group_rows, sparse}};
  for (const std::string& preset : word_list(policies, "--policy")) {
    naming("--policy", [&] { out.use(preset); });
  }
  for (const std::string& rule : rules) out.rules.push_back(parse_rule(rule, sparse));
  for (const FileRule& rule : file_rules) {
    out.rules.push_back(parse_rule(rule.text, sparse, rule.origin));
  }
  out.min_size = min_size;
  out.shared = shared;
  return out;
}

std::string rule_text(const quant::PolicyRule& rule) {
  if (!rule.choice) return rule.pattern + "=skip";
  return cat(rule.pattern, "=", rule.choice->spec.text(),
             rule.choice->group_rows ? cat("/g", rule.choice->group_rows) : "");
}

}  // namespace tessera::experiment
