// tessera sensitivity: how far each weight is from the nearest codebooks of 1 to 8 bits.
#include <iostream>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "apps/tessera/dense_model.h"
#include "apps/tessera/write_json.h"
#include "core/values.h"
#include "experiment/recipe.h"
#include "quant/method/method.h"
#include "report/table.h"

namespace tessera::apps {

int sensitivity_command(const std::vector<std::string>& args) {
  CodebookFlags codebooks;
  codebooks.usual_bits = "1,2,3,4,6,8";
  CompressRecipe recipe;
  std::int64_t group_rows = 0;
  std::string json;
  FlagList options("options");
  codebooks.add_flags(options);
  auto add = options.add_options();
  add("group-rows", flag(group_rows), "one codebook per this many rows; 0: one per tensor");
  recipe.add_policy_flags(options);
  add("json", text_flag(json, "FILE"), "write the same as JSON; - is stdout");
  const auto files = parse_flags(
      args,
      {"tessera sensitivity FILE.json [options]",
       "How far each weight is from its nearest codebooks, ||w - Delta|| / ||w|| in percent, one "
       "column for each number of bits. That is all the weights say; what coding them costs the "
       "loss takes data: 'mnist compress --from MODEL.json --target-bpw 3 --plan' and its like "
       "measure it.",
       1,
       1,
       "one model file",
       {"tessera sensitivity MODEL.json", "tessera sensitivity MODEL.json --bits 2,4 --json -"}},
      options);
  if (!files) return kExitDone;
  check_range("--group-rows", static_cast<double>(group_rows), 0, 1 << 30);
  const auto kinds = codebooks.codebooks();
  const DenseModel dense = load_dense(files->front());
  // A column a codebook; a tensor that is too small for one has no figure there.
  std::vector<std::string> header = {"tensor", "shape"};
  header.insert(header.end(), kinds.begin(), kinds.end());
  Table table(header, 1);
  std::vector<quant::CStepReport> reports;
  std::vector<quant::CompressionPlan> plans;
  for (const std::string& kind : kinds) {
    plans.push_back(quant::plan_compression(dense.parameters, dense.model.state,
                                            recipe.policy(kind, group_rows)));
    quant::fit_all(
        plans.back(), [&](const std::string& name) { return dense.weights(name); }, {},
        reports.emplace_back());
  }
  Json rows = Json::array();
  for (const quant::TensorPlan& item : plans.front().tensors) {
    std::vector<std::string> cells = {item.name, item.shape.text()};
    Json distances = Json::object();
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      cells.emplace_back("-");
      for (const quant::TensorStep& step : reports[i].tensors) {
        if (step.name != item.name) continue;
        cells.back() = fixed(100 * step.distance, 2);
        distances[kinds[i]] = number_or_null(step.distance);
      }
    }
    if (distances.empty()) continue;
    table.add(std::move(cells));
    rows.push_back({{"name", item.name}, {"shape", item.shape.text()}, {"distance", distances}});
  }
  table.print(json == "-" ? std::cerr : std::cout);
  if (!json.empty()) write_json(json, {{"tensors", rows}});
  return kExitDone;
}

}  // namespace tessera::apps
