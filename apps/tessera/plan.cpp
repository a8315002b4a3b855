// tessera plan: what a compression would code and how, without data and without training.
#include <iostream>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "apps/tessera/dense_model.h"
#include "apps/tessera/write_json.h"
#include "experiment/recipe.h"
#include "quant/method/method.h"
#include "quant/pack/entries.h"
#include "quant/pack/harden.h"
#include "report/table.h"

namespace tessera::apps {

namespace {

std::int64_t bytes_of(const quant::TensorReport& t) {
  return t.index_bytes + t.codebook_bytes + t.scale_bytes + t.sparse_bytes + t.dense_bytes;
}

// What the nearest codebooks make of the weights.
struct Outcome {
  quant::CStepReport distances;
  quant::SizeReport sizes;

  double distance(const std::string& name) const {
    for (const quant::TensorStep& step : distances.tensors)
      if (step.name == name) return step.distance;
    return 0;
  }
};

Outcome outcome_of(const DenseModel& dense, const quant::CompressionPlan& plan,
                   const std::string& entries) {
  Outcome out;
  const auto weights = [&](const std::string& name) { return dense.weights(name); };
  const quant::Codebooks fitted = quant::fit_all(plan, weights, {}, out.distances);
  const DType dtype = naming("--entries", [&] { return quant::entry_types().parse(entries); });
  out.sizes = quant::size_report(
      quant::harden(dense.model.graph, dense.model.state, quant::with_entries(fitted, dtype)));
  return out;
}

Json json_of(const quant::CompressionPlan& plan, const Outcome& outcome) {
  Json tensors = Json::array();
  for (const quant::TensorReport& t : outcome.sizes.tensors) {
    Json row = {{"name", t.name},
                {"shape", t.shape.text()},
                {"encoding", t.encoding},
                {"bytes_before", 4 * t.weights},
                {"bytes_after", bytes_of(t)}};
    if (const quant::TensorPlan* item = plan.find(t.name)) {
      row["codebook"] = item->choice->spec.text();
      row["relative_distance"] = number_or_null(outcome.distance(t.name));
    }
    tensors.push_back(std::move(row));
  }
  return {{"tensors", tensors},
          {"bytes_before", outcome.sizes.dense_bytes()},
          {"bytes_after", outcome.sizes.bytes()},
          {"bits_per_coded_weight", outcome.sizes.bits_per_weight()},
          {"relative_distance", number_or_null(outcome.distances.distance)}};
}

}  // namespace

int plan_command(const std::vector<std::string>& args) {
  CodebookFlags codebooks;
  codebooks.usual_bits = "2";
  CompressRecipe recipe;
  std::int64_t group_rows = 0;
  double sparse = 0;
  std::string json;
  FlagList options("options");
  codebooks.add_flags(options);
  auto add = options.add_options();
  add("group-rows", flag(group_rows), "one codebook per this many rows; 0: one per tensor");
  add("sparse", flag(sparse, "SHARE"), "of each weight tensor kept exactly, beside its codebook");
  add("entries", text_flag(recipe.entries, "f32|bf16|s8"), "of codebooks, as stored");
  recipe.add_policy_flags(options);
  add("json", text_flag(json, "FILE"), "write the same as JSON; - is stdout");
  const auto files = parse_flags(
      args,
      {"tessera plan FILE.json [options]",
       "What a compression would code and how, the bytes before and after, and how far the nearest "
       "codebooks are from the weights. No data, no training, nothing is written. Of a model with "
       "codebooks the weights they stand for are taken.",
       1,
       1,
       "one model file",
       {"tessera plan MODEL.json --bits 2",
        "tessera plan MODEL.json --codebook nf4@64 --entries s8",
        "tessera plan MODEL.json --bits 1 --policy first-last-8 --rule '.*fc.*=skip'"}},
      options);
  if (!files) return kExitDone;
  check_range("--group-rows", static_cast<double>(group_rows), 0, 1 << 30);
  check(sparse >= 0 && sparse <= 0.5, "--sparse: expected a share from 0 to 0.5, got ", sparse);
  const auto kinds = codebooks.codebooks();
  check(kinds.size() == 1,
        "one codebook at a time; 'tessera sensitivity' compares numbers of bits");
  const quant::Policy policy = recipe.policy(kinds.front(), group_rows, sparse);
  const DenseModel dense = load_dense(files->front());
  const quant::CompressionPlan plan =
      quant::plan_compression(dense.parameters, dense.model.state, policy);
  const Outcome outcome = outcome_of(dense, plan, recipe.entries);
  std::ostream& out = json == "-" ? std::cerr : std::cout;
  if (dense.was_coded) out << "of the weights that the file's codebooks stand for\n";
  out << plan.text();
  Table table({"tensor", "encoding", "bytes before", "bytes after", "distance %"});
  std::int64_t others = 0;
  for (const quant::TensorReport& t : outcome.sizes.tensors) {
    if (t.coded()) {
      table.add({t.name, t.encoding, std::to_string(4 * t.weights), std::to_string(bytes_of(t)),
                 fixed(100 * outcome.distance(t.name), 2)});
    } else {
      others += bytes_of(t);
    }
  }
  table.add({"all others", "f32", std::to_string(others), std::to_string(others), "-"});
  table.print(out);
  out << "bytes " << outcome.sizes.dense_bytes() << " before, " << outcome.sizes.bytes()
      << " after, " << fixed(outcome.sizes.ratio(), 2) << " times smaller; "
      << fixed(outcome.sizes.bits_per_weight(), 3) << " bits a coded weight\n"
      << "distance: ||w - Delta|| / ||w|| of direct compression, "
      << fixed(100 * outcome.distances.distance, 2) << " % over all coded weights\n";
  if (!json.empty()) write_json(json, json_of(plan, outcome));
  return kExitDone;
}

}  // namespace tessera::apps
