#include "experiment/measure.h"

#include "core/text.h"

namespace tessera::experiment {

namespace {

// "2.13 % (9787 of 10000 correct)"
std::string shown(const nn::Metric& metric) {
  return metric.detail.empty() ? metric.text() : cat(metric.text(), " (", metric.detail, ")");
}

// Those beside the main one that people see.
std::vector<const nn::Metric*> also_shown(const nn::Evaluation& e) {
  std::vector<const nn::Metric*> out;
  for (const nn::Metric& metric : e.metrics) {
    if (&metric != &e.metrics.front() && !metric.detail.empty()) out.push_back(&metric);
  }
  return out;
}

bool several(const Measured& measured) {
  return measured.parts.size() > 1;
}

Json metric_json(const nn::Metric& metric) {
  return {{"name", metric.name},     {"value", number_or_null(metric.value)},
          {"unit", metric.unit},     {"lower_is_better", metric.lower_is_better},
          {"count", metric.count},   {"digits", metric.digits},
          {"detail", metric.detail}, {"label", metric.label}};
}

nn::Metric parse_metric(const JsonAt& at) {
  nn::Metric out;
  out.name = at.at("name").text();
  out.unit = at.at("unit").text();
  out.lower_is_better = at.at("lower_is_better").boolean();
  out.count = at.at("count").boolean();
  out.digits = static_cast<int>(at.at("digits").integer(0, 20));
  out.detail = at.at("detail").text();
  out.label = at.at("label").text();
  // What is no number is the worst there is.
  out.value = at.at("value").number_or(out.worst());
  return out;
}

Json evaluation_json(const nn::Evaluation& e, const std::string& on) {
  Json out = {{"samples", e.samples}, {"metrics", Json::array()}};
  for (const nn::Metric& metric : e.metrics) {
    out[metric_key(metric, on)] =
        metric.count ? Json(static_cast<std::int64_t>(metric.value)) : number_or_null(metric.value);
    out["metrics"].push_back(metric_json(metric));
  }
  return out;
}

// Results of before metrics were kept whole are of classifiers.
std::vector<nn::Metric> older_metrics(const JsonAt& at, const std::string& on) {
  nn::Metric error{"error", at.at(on + "_error").number(), "%"};
  nn::Metric loss{"loss", at.at(on + "_loss").number_or(error.worst()), "", true, 4};
  const std::int64_t right = at.at("correct").integer(0), samples = at.at("samples").integer(1);
  error.detail = cat(right, " of ", samples, " correct");
  nn::Metric count{"correct", static_cast<double>(right), "", false, 0};
  count.count = true;
  return {error, loss, count};
}

nn::Evaluation parse_evaluation(const JsonAt& at, const std::string& on) {
  nn::Evaluation out;
  out.samples = at.at("samples").integer(1);
  const auto list = at.find("metrics");
  if (!list) {
    out.metrics = older_metrics(at, on);
    return out;
  }
  for (const JsonAt& metric : list->items()) out.metrics.push_back(parse_metric(metric));
  check(!out.metrics.empty(), list->file(), ": ", list->pointer(), ": expected a metric");
  return out;
}

}  // namespace

std::string metric_key(const nn::Metric& metric, const std::string& on) {
  return metric.count ? metric.name : cat(on, "_", metric.name);
}

std::string with_unit(const std::string& title, const nn::Metric& metric) {
  return metric.unit.empty() ? title : cat(title, " ", metric.unit);
}

std::string in_units(const nn::Metric& metric) {
  if (metric.unit.empty()) return metric.title();
  return cat(metric.title(), " in ", metric.unit == "%" ? "percent" : metric.unit);
}

nn::Metric unknown_metric() {
  nn::Metric out;
  out.name = "metric";
  return out;
}

std::string Measured::text() const {
  std::string out = cat(on, " ", metric().title(), " ", shown(metric()));
  for (const nn::Metric* other : also_shown(all))
    out += cat(", ", other->title(), " ", shown(*other));
  std::string own, seen;
  std::size_t count = 0;
  for (const Part& part : parts) {
    std::string& to = part.seen ? seen : own;
    to += cat(to.empty() ? "" : ", ", part.name, " ", shown(part.result.metric()));
    count += !part.seen;
  }
  if (count > 1) out += ": " + own;
  if (!seen.empty()) out += "; not counted, training samples of the data set: " + seen;
  return out;
}

Json Measured::json() const {
  Json out = evaluation_json(all, on);
  out["measured_on"] = on;
  out["parts"] = Json::array();
  for (const Part& part : parts) {
    out["parts"].push_back(evaluation_json(part.result, on));
    out["parts"].back()["name"] = part.name;
    if (part.seen) out["parts"].back()["seen"] = true;
  }
  return out;
}

Measured Measured::parse(const JsonAt& at) {
  Measured out;
  if (const auto on = at.find("measured_on")) out.on = on->text();  // older: the test set
  out.all = parse_evaluation(at, out.on);
  for (const JsonAt& part : at.at("parts").items()) {
    const auto seen = part.find("seen");
    out.parts.push_back(
        {part.at("name").text(), parse_evaluation(part, out.on), seen && seen->boolean()});
  }
  return out;
}

Measured measure(const Graph& graph, State& state, const Data& data, const CompileOptions& options,
                 std::int64_t batch) {
  nn::Evaluator evaluate(clone(graph), data.task, options);
  Measured out;
  out.on = data.measured_on;
  if (data.tests.size() == 1 && !data.tests.front().seen) {
    const TestSet& test = data.tests.front();
    out.all = evaluate(state, *test.source, batch);
    out.parts = {{test.name, out.all, false}};
    return out;
  }
  const auto all = data.task->meter();
  for (const TestSet& test : data.tests) {
    const auto own = data.task->meter();
    if (test.seen) {
      evaluate(state, *test.source, {own.get()}, batch);
    } else {
      evaluate(state, *test.source, {own.get(), all.get()}, batch);
      out.all.samples += test.source->samples();
    }
    out.parts.push_back({test.name, {test.source->samples(), own->metrics()}, test.seen});
  }
  out.all.metrics = all->metrics();
  return out;
}

std::vector<std::string> extra_columns(const Measured& measured) {
  std::vector<std::string> out;
  for (const nn::Metric* other : also_shown(measured.all))
    out.push_back(with_unit(other->title(), *other));
  if (several(measured)) {
    for (const Part& part : measured.parts)
      out.push_back(with_unit(part.name + (part.seen ? " (training)" : ""), measured.metric()));
  }
  return out;
}

std::vector<std::string> extra_cells(const Measured& measured) {
  std::vector<std::string> out;
  for (const nn::Metric* other : also_shown(measured.all))
    out.push_back(fixed(other->value, other->digits));
  if (several(measured)) {
    for (const Part& part : measured.parts) {
      const nn::Metric& metric = part.result.metric();
      out.push_back(fixed(metric.value, metric.digits));
    }
  }
  return out;
}

}  // namespace tessera::experiment
