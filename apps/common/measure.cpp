#include "apps/common/measure.h"

#include <cmath>
#include <limits>

#include "apps/common/table.h"

namespace tessera::apps {

namespace {

double share(std::int64_t n, std::int64_t of) {
  return static_cast<double>(n) / static_cast<double>(of);
}

std::string counts(const nn::Evaluation& e) {
  return cat(fixed(e.error_percent(), 2), " % (", e.correct, " of ", e.samples, " correct)");
}

bool several(const Measured& measured) {
  return measured.parts.size() > 1;
}

Json evaluation_json(const nn::Evaluation& e, const std::string& on) {
  return {{on + "_error", e.error_percent()},
          {on + "_loss", std::isfinite(e.loss) ? Json(e.loss) : Json()},  // JSON has no infinity
          {"correct", e.correct},
          {"correct5", e.correct5},
          {"samples", e.samples}};
}

nn::Evaluation parse_evaluation(const JsonAt& at, const std::string& on) {
  nn::Evaluation out;
  const JsonAt loss = at.at(on + "_loss");
  out.loss = loss.value().is_null() ? std::numeric_limits<double>::infinity() : loss.number();
  out.samples = at.at("samples").integer(1);
  out.correct = at.at("correct").integer(0, out.samples);
  out.correct5 = at.at("correct5").integer(0, out.samples);
  out.accuracy = share(out.correct, out.samples);
  return out;
}

}  // namespace

double Measured::top5_error() const {
  return 100 * (1 - share(all.correct5, all.samples));
}

std::string Measured::text() const {
  std::string out = on + " error " + counts(all);
  if (top5()) out += cat(", top-5 error ", fixed(top5_error(), 2), " % (", all.correct5, ")");
  std::string own, seen;
  std::size_t count = 0;
  for (const Part& part : parts) {
    std::string& to = part.seen ? seen : own;
    to += cat(to.empty() ? "" : ", ", part.name, " ", counts(part.result));
    count += !part.seen;
  }
  if (count > 1) out += ": " + own;
  if (!seen.empty()) out += "; not counted, training images of the data set: " + seen;
  return out;
}

Json Measured::json() const {
  Json out = evaluation_json(all, on);
  out["measured_on"] = on;
  out["classes"] = classes;
  out["parts"] = Json::array();
  if (top5()) out["top5_error"] = top5_error();
  for (const Part& part : parts) {
    out["parts"].push_back(evaluation_json(part.result, on));
    out["parts"].back()["name"] = part.name;
    if (part.seen) out["parts"].back()["seen"] = true;
  }
  return out;
}

Measured Measured::parse(const JsonAt& at) {
  Measured out;
  if (const auto on = at.find("measured_on")) out.on = on->text();  // older results: the test set
  out.all = parse_evaluation(at, out.on);
  out.classes = at.at("classes").integer(1);
  for (const JsonAt& part : at.at("parts").items()) {
    const auto seen = part.find("seen");
    out.parts.push_back(
        {part.at("name").text(), parse_evaluation(part, out.on), seen && seen->boolean()});
  }
  return out;
}

Measured measure(const Graph& graph, State& state, const Data& data, bool packed_only,
                 std::int64_t batch) {
  CompileOptions options;
  options.packed_only = packed_only;
  nn::Evaluator evaluate(clone(graph), options);
  Measured out;
  out.classes = data.tests.front().source->classes();
  out.on = data.measured_on;
  for (const TestSet& test : data.tests) {
    const nn::Evaluation part = evaluate(state, *test.source, batch);
    out.parts.push_back({test.name, part, test.seen});
    if (test.seen) continue;
    out.all.correct += part.correct;
    out.all.correct5 += part.correct5;
    out.all.samples += part.samples;
    out.all.loss += part.loss * static_cast<double>(part.samples);
  }
  out.all.loss /= static_cast<double>(out.all.samples);
  out.all.accuracy = share(out.all.correct, out.all.samples);
  return out;
}

std::vector<std::string> extra_columns(const Measured& measured) {
  std::vector<std::string> out;
  if (measured.top5()) out.push_back("top-5 %");
  if (several(measured)) {
    for (const Part& part : measured.parts) {
      out.push_back(part.name + (part.seen ? " (training) %" : " %"));
    }
  }
  return out;
}

std::vector<std::string> extra_cells(const Measured& measured) {
  std::vector<std::string> out;
  if (measured.top5()) out.push_back(fixed(measured.top5_error(), 2));
  if (several(measured)) {
    for (const Part& part : measured.parts) {
      out.push_back(fixed(part.result.error_percent(), 2));
    }
  }
  return out;
}

}  // namespace tessera::apps
