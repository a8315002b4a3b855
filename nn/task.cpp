#include "nn/task.h"

#include <cstdio>
#include <limits>

#include "ops/communication/communication.h"

namespace tessera::nn {

std::string Metric::text(double other) const {
  char number[64];
  std::snprintf(number, sizeof(number), "%.*f", digits, other);
  return cat(number, unit.empty() ? "" : " ", unit);
}

double Metric::worst() const {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return lower_is_better ? kInfinity : -kInfinity;
}

const Metric& Evaluation::metric(std::string_view name) const {
  std::string names;
  for (const Metric& m : metrics) {
    if (name.empty() || m.name == name) return m;
    names += (names.empty() ? "" : ", ") + m.name;
  }
  fail("there is no metric '", name, "', but ", names.empty() ? "none" : names);
}

Value FieldInputs::operator()(const std::string& name) const {
  const Field* field = find_field(fields_, name);
  check(field != nullptr, "the task has no field '", name, "', but ", listed(fields_));
  return graph_.input(name, field->type());
}

Value FieldInputs::joint_mean(Value of_rows) const {
  return ranks_ == 1 ? of_rows : ops::all_reduce(of_rows, ranks_);
}

std::vector<Field> Task::fields() const {
  std::vector<Field> out = inputs();
  for (const Field& field : targets()) out.push_back(field);
  return out;
}

void Task::plain_labels(double label_smoothing) const {
  check(label_smoothing == 0, name(), " has no labels to smooth, got a label smoothing of ",
        label_smoothing);
}

std::vector<NamedLoss> Task::losses(const FieldInputs& fields, const Values& outputs,
                                    double label_smoothing) const {
  return {{"loss", loss(fields, outputs, label_smoothing)}};
}

Values Task::measured(const FieldInputs&, const Values& outputs) const {
  return outputs;
}

Value Task::target(const FieldInputs&, const Values&, double) const {
  fail(name(), " predicts no distribution that could be distilled");
}
Value Task::prediction(const Values&) const {
  fail(name(), " predicts no distribution that could be distilled");
}
Value Task::loss_to(const FieldInputs&, const Values&, Value) const {
  fail(name(), " predicts no distribution that could be distilled");
}
void Task::draw_targets(const TensorMap&, std::uint64_t, std::int64_t, TensorMap&,
                        const std::string&) const {
  fail(name(), " predicts no distribution that targets could be drawn from");
}

}  // namespace tessera::nn
