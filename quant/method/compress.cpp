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

// What runs of both kinds have: C steps are reported, and evaluated where that is asked for.
class Run {
 public:
  Run(nn::Trainer& trainer, const CompressOptions& options)
      : trainer_(trainer),
        options_(options),
        evaluate_(nn::inference_graph(trainer), trainer.task()) {}

  nn::Observer& observer() { return options_.observer ? *options_.observer : none_; }
  void report(const CStepReport& step, const Codebooks& codebooks) {
    std::vector<std::pair<std::string, std::string>> fields = {{"step", std::to_string(step.step)},
                                                               {"mu", number(step.mu)},
                                                               {"distance", number(step.distance)},
                                                               {"changed", number(step.changed)}};
    for (const auto& t : step.tensors) {
      fields.emplace_back(t.name + ".distance", number(t.distance));
      fields.emplace_back(t.name + ".changed", number(t.changed));
    }
    if (options_.test && step.step % options_.test_every == 0) {
      State decoded = decoded_state(trainer_.state(), codebooks);
      const auto test = evaluate_(decoded, *options_.test);
      const nn::Metric& main = test.metric();
      fields.emplace_back(cat(options_.test_name, "_", main.name), number(main.value));
      if (main.name != "loss")
        fields.emplace_back(options_.test_name + "_loss", number(test.loss()));
    }
    observer().on_event("c_step", fields);
    result.c_steps.push_back(step);
  }
  CompressResult done(Codebooks codebooks, double seconds_before = 0) {
    result.finished = true;
    result.codebooks = std::move(codebooks);
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
    result.seconds = seconds_before + passed.count();
    return std::move(result);
  }

  CompressResult result;

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  nn::Trainer& trainer_;
  const CompressOptions& options_;
  nn::Evaluator evaluate_;
  nn::Observer none_;
};

PostTrained run_after(nn::Trainer& trainer, const CompressionPlan& plan, const PostTraining& method,
                      const BatchSource* data) {
  if (method.require) method.require(plan);
  std::optional<CalibrationSet> samples;
  if (method.samples > 0) {
    check(data != nullptr, method.name, " needs samples to look at");
    samples.emplace(*data, method.samples);
  }
  const Graph graph = nn::inference_graph(trainer);
  return method.run({graph, trainer.task(), trainer.state()}, plan, samples ? &*samples : nullptr);
}

}  // namespace

CompressResult compress(nn::Trainer& trainer, const BatchSource& data, const CompressionPlan& plan,
                        Method& method, const CompressOptions& options) {
  Run run(trainer, options);
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
    if (const auto step = method.after_update(trainer, from, to))
      run.report(*step, method.codebooks(trainer));
  };

  nn::Position position;
  const bool resuming = nn::resume_from(trainer, fit, position);
  const WhileItRuns given(trainer);
  try {
    const CStepReport first = method.begin(trainer, plan, data, resuming);
    if (!resuming) run.report(first, method.codebooks(trainer));
    run.result.chosen = method.chosen();
    if (!run.result.chosen.empty())
      run.observer().on_event("schedule", {{"chosen", run.result.chosen}});
  } catch (const Interrupted&) {
    return std::move(run.result);
  }
  fit.from = position;
  const bool finished = nn::fit(trainer, data, fit).finished;
  CompressResult out = run.done(method.codebooks(trainer), position.seconds);
  out.finished = finished;
  return out;
}

CompressResult compress(nn::Trainer& trainer, const BatchSource& data, const CompressionPlan& plan,
                        const PostTraining& method, const CompressOptions& options) {
  Run run(trainer, options);
  PostTrained made;
  try {
    made = run_after(trainer, plan, method, &data);
    run.report(made.report, made.codebooks);
  } catch (const Interrupted&) {
    return std::move(run.result);
  }
  run.observer().on_begin(method.name, 0, {});
  run.observer().on_end();
  return run.done(std::move(made.codebooks));
}

CompressResult compress(nn::Trainer& trainer, const BatchSource& data, const CompressionPlan& plan,
                        AnyMethod& method, const CompressOptions& options) {
  if (method.training) return compress(trainer, data, plan, *method.training, options);
  return compress(trainer, data, plan, method.after, options);
}

void AnyMethod::require(const CompressionPlan& plan) const {
  if (training) training->require(plan);
  if (!training && after.require) after.require(plan);
}

Codebooks compressed(nn::Trainer& trainer, const CompressionPlan& plan, const PostTraining& method,
                     const BatchSource* data) {
  return run_after(trainer, plan, method, data).codebooks;
}

void start_at(nn::Trainer& trainer, const BatchSource& data, const CompressionPlan& plan,
              Method& method, double epoch) {
  method.begin(trainer, plan, data);
  method.before_epoch(trainer, epoch);
}

Model harden(const nn::Trainer& trainer, const Codebooks& codebooks) {
  return harden(nn::inference_graph(trainer), trainer.state(), codebooks);
}

}  // namespace tessera::quant
