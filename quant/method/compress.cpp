#include "quant/method/compress.h"

#include <chrono>
#include <iomanip>
#include <sstream>

#include "core/interrupt.h"

namespace tessera::quant {

namespace {

std::string number(double value) {
  std::ostringstream out;
  out << std::setprecision(6) << value;
  return out.str();
}

// Puts back what the trainer minimised before: a method takes only its own away.
class WhileItRuns {
 public:
  explicit WhileItRuns(nn::Trainer& trainer) : trainer_(trainer), terms_(trainer.terms_set()) {}
  ~WhileItRuns() { trainer_.set_terms(std::move(terms_)); }
  WhileItRuns(const WhileItRuns&) = delete;
  WhileItRuns& operator=(const WhileItRuns&) = delete;

 private:
  nn::Trainer& trainer_;
  nn::StepTerms terms_;
};

}  // namespace

CompressResult compress(nn::Trainer& trainer, const BatchSource& data, const CompressionPlan& plan,
                        Method& method, const CompressOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  CompressResult result;
  nn::Evaluator evaluate(nn::inference_graph(trainer), trainer.task());
  nn::Observer none;
  nn::Observer& observer = options.observer ? *options.observer : none;

  const auto report = [&](const CStepReport& step) {
    std::vector<std::pair<std::string, std::string>> fields = {{"step", std::to_string(step.step)},
                                                               {"mu", number(step.mu)},
                                                               {"distance", number(step.distance)},
                                                               {"changed", number(step.changed)}};
    for (const auto& t : step.tensors) {
      fields.emplace_back(t.name + ".distance", number(t.distance));
      fields.emplace_back(t.name + ".changed", number(t.changed));
    }
    if (options.test && step.step % options.test_every == 0) {
      State decoded = decoded_state(trainer.state(), method.codebooks(trainer));
      const auto test = evaluate(decoded, *options.test);
      const nn::Metric& main = test.metric();
      fields.emplace_back(cat(options.test_name, "_", main.name), number(main.value));
      if (main.name != "loss")
        fields.emplace_back(options.test_name + "_loss", number(test.loss()));
    }
    observer.on_event("c_step", fields);
    result.c_steps.push_back(step);
  };

  nn::FitOptions fit;
  fit.phase = method.name();
  fit.epochs = method.epochs();
  fit.lr = [&](double epoch) { return method.learning_rate(epoch); };
  fit.checkpoint = options.checkpoint;
  fit.checkpoint_seconds = options.checkpoint_seconds;
  fit.resume = options.resume;
  fit.config = options.config;
  fit.observer = options.observer;
  fit.before_epoch = [&](double epoch) { method.before_epoch(trainer, epoch); };
  fit.after_update = [&](double from, double to) {
    if (const auto step = method.after_update(trainer, from, to)) report(*step);
  };

  nn::Position position;
  const bool resuming = nn::resume_from(trainer, fit, position);
  const WhileItRuns given(trainer);
  method.set_data(data);
  try {
    const CStepReport first = method.begin(trainer, plan, resuming);
    if (!resuming) report(first);
  } catch (const Interrupted&) {
    return result;
  }
  fit.from = position;
  result.finished = nn::fit(trainer, data, fit).finished;
  result.codebooks = method.codebooks(trainer);
  result.seconds = position.seconds +
                   std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

Model harden(const nn::Trainer& trainer, const Codebooks& codebooks) {
  return harden(nn::inference_graph(trainer), trainer.state(), codebooks);
}

}  // namespace tessera::quant
