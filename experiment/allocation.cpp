#include "experiment/allocation.h"

#include <algorithm>

#include "core/text.h"
#include "quant/calibrate/calibration.h"
#include "quant/plan/allocate.h"

namespace tessera::experiment {

namespace {

using quant::Candidate;
using quant::CandidateTensor;

// Costs as stored: one list a tensor.
Json costs_json(const std::vector<CandidateTensor>& tensors, double dense_loss) {
  Json costs = Json::object();
  for (const CandidateTensor& tensor : tensors) {
    Json list = Json::array();
    for (const Candidate& c : tensor.candidates) list.push_back(c.cost);
    costs[tensor.name] = list;
  }
  return {{"dense_loss", dense_loss}, {"costs", costs}};
}

// Throws Error when they are not those of these candidates.
double read_costs(const Json& json, const std::string& file,
                  std::vector<CandidateTensor>& tensors) {
  const JsonAt at(json, file);
  for (CandidateTensor& tensor : tensors) {
    const auto costs = at.at("costs").at(tensor.name).items();
    check(costs.size() == tensor.candidates.size(), file, ": costs of '", tensor.name,
          "': expected ", tensor.candidates.size(), ", got ", costs.size());
    for (std::size_t i = 0; i < costs.size(); ++i) tensor.candidates[i].cost = costs[i].number();
  }
  return at.at("dense_loss").number();
}

}  // namespace

const BitAllocator::Measurement& BitAllocator::measured(const Reference& reference,
                                                        const CompressRecipe& recipe,
                                                        std::int64_t group_rows,
                                                        std::uint64_t seed) {
  const auto [at, fresh] = measured_.try_emplace({seed, group_rows});
  Measurement& out = at->second;
  if (!fresh) return out;
  const nn::Trainer trainer = make_trainer(task_);
  const State& weights = reference.model.state;
  // The codebook of a policy is not looked at.
  out.tensors =
      quant::candidates(trainer.parameters(), weights, recipe.policy("adaptive:2", group_rows));

  Config config = task_.settings;
  config.merge(recipe.sensitivity_config());
  config["group_rows"] = std::to_string(group_rows);
  config["reference.weights_sha256"] = reference.weights_sha256;
  const std::string prefix = session_.out().name.empty() ? "" : session_.out().name + "-";
  const std::string name = cat(prefix, "sensitivity-", recipe.sensitivity,
                               group_rows == 0 ? "" : cat("-g", group_rows), "-s", seed);
  if (task_.calibration) config["calibration_sha256"] = task_.calibration_sha256;
  using Existing = Results::Existing;
  const OutSettings& flags = session_.out();
  // A plan replaces nothing, and takes what is there when it is of these settings.
  const Results results(flags.out,
                        flags.resume      ? Existing::reuse
                        : flags.overwrite ? Existing::overwrite
                                          : Existing::repeat,
                        kSensitivityExtension);
  if (const auto found = results.find(name, config)) {
    out.dense_loss =
        read_costs(*found, session_.path(name + kSensitivityExtension).string(), out.tensors);
    return out;
  }
  const auto data = calibration_data(task_, reference, seed, recipe.batch);
  const quant::CalibrationSet samples(*data, recipe.calibration_samples());
  session_.detail(cat("sensitivities (", recipe.sensitivity, ") of ", out.tensors.size(),
                      " tensors on ", samples.samples(), " samples\n"));
  out.dense_loss = quant::measure_costs(out.tensors, reference.model.graph, task_.data.task,
                                        weights, samples, recipe.sensitivity_kind());
  if (keep_) results.store(name, config, costs_json(out.tensors, out.dense_loss));
  return out;
}

std::string BitAllocator::require(const CompressRecipe& recipe, const Variant& variant,
                                  const State* weights) const {
  const auto target = SizeTarget::parse(variant.codebook);
  if (!target) return "";
  const nn::Trainer trainer = make_trainer(task_);
  const auto tensors = quant::candidates(trainer.parameters(), weights ? *weights : trainer.state(),
                                         recipe.policy("adaptive:2", variant.group_rows));
  const auto least = quant::pareto(tensors).front();
  const std::string text = cat(least.bytes, " bytes of indices and codebooks (",
                               fixed(least.bits_per_weight(tensors), 4), " bits a weight)");
  check(least.bytes <= target->budget(tensors), variant.codebook,
        ": too few: ", target->budget(tensors), " bytes, and the least possible are ", text,
        recipe.rules.empty() ? "" : " under these rules");
  return text;
}

CompressRecipe BitAllocator::recipe(const Reference& reference, const CompressRecipe& recipe,
                                    const Variant& variant, std::uint64_t seed) {
  const auto target = SizeTarget::parse(variant.codebook);
  if (!target) return recipe;
  const bool known = measured_.contains({seed, variant.group_rows});
  const Measurement& found = measured(reference, recipe, variant.group_rows, seed);
  const auto point = [&](const quant::Allocation& a) -> Json {
    return {{"bits_per_weight", a.bits_per_weight(found.tensors)},
            {"bytes", a.bytes},
            {"predicted_loss", found.dense_loss + a.cost},
            {"seed", seed},
            {"group_rows", variant.group_rows}};
  };
  if (!known) {
    for (const auto& a : quant::pareto(found.tensors)) json_["pareto"].push_back(point(a));
  }
  const auto allocation = quant::allocate(found.tensors, target->budget(found.tensors));
  CompressRecipe out = recipe;
  Json tensors = Json::array();
  std::string text;
  const auto rules = quant::rules(found.tensors, allocation);
  for (std::size_t t = 0; t < rules.size(); ++t) {
    const Candidate& c = found.tensors[t].candidates[allocation.chosen[t]];
    const std::string rule = rule_text(rules[t]);
    tensors.push_back({{"name", found.tensors[t].name},
                       {"bits", c.bits},
                       {"bytes", c.bytes},
                       {"sensitivity", c.cost},
                       {"rule", rule}});
    // A tensor that a rule or a preset named keeps what that says.
    if (found.tensors[t].candidates.size() == 1) continue;
    out.rules.push_back(rule);
    text += cat(text.empty() ? "" : " ", "--rule '", rule, "'");
  }
  Json entry = point(allocation);
  entry["codebook"] = variant.codebook;
  entry["least_loss"] = found.dense_loss + allocation.least_cost;
  entry["tensors"] = std::move(tensors);
  // Several methods share an allocation.
  Json& all = json_["allocations"];
  if (std::find(all.begin(), all.end(), entry) == all.end()) {
    session_.detail(cat("Bits for ", variant.codebook, ", predicted loss ",
                        fixed(found.dense_loss + allocation.cost, 4), " (reference ",
                        fixed(found.dense_loss, 4), "):\n", quant::text(found.tensors, allocation),
                        text, "\n"));
    all.push_back(std::move(entry));
  }
  return out;
}

}  // namespace tessera::experiment
