// The loop around a trainer: resume, interruption, early stopping.
#include "nn/fit.h"
#include "nn/classification.h"

#include <gtest/gtest.h>

#include <unistd.h>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>

#include "core/files/checkpoint.h"
#include "core/interrupt.h"
#include "core/rng.h"
#include "nn/schedule.h"
#include "tests/error_of.h"
#include "tests/nn/spirals.h"

namespace tessera::nn {
namespace {

using tessera::testing::error_of;
using testing::network;
using testing::Spirals;

Trainer trainer(double dropout = 0) {
  TrainerOptions options;
  options.batch = 32;
  return classifier(network(dropout), {2}, 2, options);
}

struct TempFile {
  std::filesystem::path path = std::filesystem::temp_directory_path() /
                               ("tessera-fit-" + std::to_string(getpid()) + ".ckpt");
  ~TempFile() { std::filesystem::remove(path); }
};

FitOptions fit_options(const std::filesystem::path& checkpoint) {
  FitOptions options;
  options.epochs = 6;
  options.lr = cosine(0.05, 0, 6);
  options.checkpoint = checkpoint;
  options.checkpoint_seconds = 0;
  options.resume = true;
  return options;
}

TEST(Fit, ResumeInTheMiddleOfAnEpochGivesTheSameBits) {
  const Spirals data(300);
  Trainer whole = trainer(0.2);
  FitOptions plain = fit_options({});
  ASSERT_TRUE(fit(whole, data, plain).finished);

  TempFile file;
  for (int part = 0;; ++part) {
    ASSERT_LT(part, 50);
    Trainer piece = trainer(0.2);
    FitOptions options = fit_options(file.path);
    // Every run is interrupted after 7 steps, wherever that is.
    struct Stop final : Observer {
      int left = 7;
      void on_step(const StepReport&) override {
        if (--left == 0) set_interrupted(true);
      }
    } stop;
    options.observer = &stop;
    const auto result = fit(piece, data, options);
    set_interrupted(false);
    if (!result.finished) continue;
    EXPECT_TRUE(equal_bits(piece.state(), whole.state()));
    break;
  }
}

TEST(Fit, ResumeUnderAnotherConfigurationIsRefused) {
  TempFile file;
  const Spirals data(100);
  Trainer a = trainer();
  FitOptions options = fit_options(file.path);
  options.epochs = 1;
  options.config = {{"lr", "0.05"}};
  fit(a, data, options);
  options.config = {{"lr", "0.1"}};
  Trainer b = trainer();
  try {
    fit(b, data, options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("lr: was 0.05, now 0.1"), std::string::npos)
        << error.what();
  }
}

TEST(Fit, ResumeNamesTheFileThatDoesNotFit) {
  TempFile file;
  const Spirals data(100);
  Trainer a = trainer();
  FitOptions options = fit_options(file.path);
  options.epochs = 1;
  fit(a, data, options);
  const auto message_after = [&](const auto& change) -> std::string {
    Checkpoint checkpoint = load_checkpoint(file.path);
    change(checkpoint);
    TempFile other;
    other.path += ".other";
    save_checkpoint(other.path, checkpoint.state, checkpoint.info);
    options.checkpoint = other.path;
    Trainer b = trainer();
    try {
      fit(b, data, options);
    } catch (const Error& error) {
      const std::string place = other.path.string() + ": ", what = error.what();
      return what.starts_with(place) ? what.substr(place.size()) : what;
    }
    return "(no error)";
  };
  EXPECT_EQ(message_after([](Checkpoint& c) { c.state.erase("fc2.bias"); }),
            "has no tensor 'fc2.bias'");
  EXPECT_EQ(message_after([](Checkpoint& c) { c.state.set("fc2.bias", Tensor::full({3}, 0)); }),
            "tensor 'fc2.bias' is f32[3], expected f32[16]");
  EXPECT_EQ(message_after([](Checkpoint& c) { c.info.extra["loss_sum"] = "much"; }),
            "'loss_sum': expected a number, got 'much'");
  EXPECT_EQ(message_after([](Checkpoint&) {}), "(no error)");
}

// As many samples as spirals has, with random labels: what is learned elsewhere does not help.
class Restless final : public tessera::testing::Labelled {
 public:
  explicit Restless(std::int64_t samples = 64) : Labelled("restless", samples, {2}, 2) {}

 protected:
  std::int32_t make(std::int64_t at, std::span<float> x) const override {
    TensorMap one = {{"x", Tensor(DType::f32, {1, 2})}};
    Spirals(samples()).fill(-1, at, one);
    std::copy_n(one.at("x").span<float>().begin(), 2, x.begin());
    return static_cast<std::int32_t>(Rng(5, static_cast<std::uint64_t>(at)).below(2));
  }
};

TEST(EarlyStopping, EndsAtItsPatienceWithTheBestWeights) {
  const Restless validation;
  FitOptions options{.epochs = 60, .lr = constant(0.1)};
  options.early_stopping = {.validation = &validation, .metric = "loss", .patience = 3};
  struct Seen final : Observer {
    std::vector<double> losses;
    void on_event(const std::string& event,
                  const std::vector<std::pair<std::string, std::string>>& fields) override {
      if (event == "validation") losses.push_back(std::stod(fields[2].second));
    }
  } seen;
  options.observer = &seen;
  Trainer t = trainer();
  const FitResult result = fit(t, Spirals(200), options);
  ASSERT_TRUE(result.finished);
  ASSERT_TRUE(result.stopped_early);
  const auto best = std::min_element(seen.losses.begin(), seen.losses.end());
  EXPECT_EQ(result.best_epoch, best - seen.losses.begin());
  EXPECT_EQ(std::ssize(seen.losses), result.best_epoch + 1 + 3);
  EXPECT_NEAR(result.best, *best, 1e-4);
  EXPECT_NEAR(t.evaluate(validation).loss(), result.best, 1e-6);
  for (const std::string& name : t.state().names())
    EXPECT_FALSE(name.starts_with("early_stopping"));
  // The same weights as a training that ends there.
  Trainer plain = trainer();
  fit(plain, Spirals(200), {.epochs = result.best_epoch + 1, .lr = constant(0.1)});
  for (const auto& p : t.parameters())
    EXPECT_TRUE(equal_bits(t.state().get(p.name), plain.state().get(p.name))) << p.name;

  options.early_stopping.patience = 0;
  EXPECT_NE(error_of([&] { fit(t, Spirals(200), options); }).find("patience"), std::string::npos);
}

// The rate of each epoch follows from the validation losses before it, in a resumed run as well.
TEST(EarlyStopping, TheRateFallsOnAPlateau) {
  const Restless validation;
  const TempFile file;
  struct Seen final : Observer {
    std::vector<double> rates, losses;
    std::int64_t stop_in = -1;
    void on_step(const StepReport& r) override {
      if (r.step == 1) rates.push_back(r.lr);
      if (r.epoch == stop_in && r.step == 2) set_interrupted(true);
    }
    void on_event(const std::string& event,
                  const std::vector<std::pair<std::string, std::string>>& fields) override {
      if (event == "validation") losses.push_back(std::stod(fields[2].second));
    }
  };
  FitOptions options{.epochs = 12, .lr = exponential(0.1, 0.9)};
  options.early_stopping = {
      .validation = &validation, .metric = "loss", .patience = 12, .plateau = 0.5};
  const auto run = [&](Seen& seen) {
    options.observer = &seen;
    Trainer t = trainer();
    const bool finished = fit(t, Spirals(200), options).finished;
    set_interrupted(false);
    return finished;
  };
  Seen seen;
  ASSERT_TRUE(run(seen));
  double scale = 1, best = seen.losses[0];
  for (std::size_t epoch = 0; epoch < 12; ++epoch) {
    EXPECT_NEAR(seen.rates[epoch], scale * 0.1 * std::pow(0.9, static_cast<double>(epoch)), 1e-9);
    if (epoch > 0 && seen.losses[epoch] >= best) scale *= 0.5;
    best = std::min(best, seen.losses[epoch]);
  }
  EXPECT_LT(scale, 0.5);

  options.checkpoint = file.path;
  options.resume = true;
  Seen first, second;
  first.stop_in = 11;
  EXPECT_FALSE(run(first));
  EXPECT_TRUE(run(second));
  EXPECT_EQ(first.rates, seen.rates);
  EXPECT_EQ(second.losses.back(), seen.losses.back());
  options.resume = false;
  options.early_stopping.plateau = 0;
  EXPECT_NE(error_of([&] { run(seen); }).find("plateau"), std::string::npos);
}

TEST(EarlyStopping, AResumedRunRemembersItsBestEpoch) {
  const Restless validation;
  const TempFile file;
  FitOptions options{.epochs = 60, .lr = constant(0.1)};
  options.early_stopping = {.validation = &validation, .metric = "loss", .patience = 3};
  Trainer whole = trainer();
  const FitResult expected = fit(whole, Spirals(200), options);
  options.checkpoint = file.path;
  options.resume = true;
  struct Stop final : Observer {
    std::int64_t at;
    explicit Stop(std::int64_t epoch) : at(epoch) {}
    void on_step(const StepReport& r) override {
      if (r.epoch == at && r.step == 2) set_interrupted(true);
    }
  } stop(expected.best_epoch + 2);
  options.observer = &stop;
  Trainer first = trainer();
  EXPECT_FALSE(fit(first, Spirals(200), options).finished);
  set_interrupted(false);
  options.observer = nullptr;
  Trainer second = trainer();
  const FitResult result = fit(second, Spirals(200), options);
  EXPECT_TRUE(result.stopped_early);
  EXPECT_EQ(result.best_epoch, expected.best_epoch);
  for (const auto& p : whole.parameters())
    EXPECT_TRUE(equal_bits(whole.state().get(p.name), second.state().get(p.name))) << p.name;
}

// Interrupts in the n-th of its batches.
class Interrupting final : public BatchSource {
 public:
  explicit Interrupting(int n) : left_(n) {}
  std::string name() const override { return "interrupting"; }
  std::int64_t samples() const override { return validation_.samples(); }
  std::vector<Field> fields() const override { return validation_.fields(); }
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override {
    if (--left_ == 0) set_interrupted(true);
    validation_.fill(epoch, first, batch);
  }

 private:
  mutable int left_;
  Restless validation_{3000};  // several batches
};

// What a run measured, by epoch.
struct Measured final : Observer {
  std::map<std::int64_t, double> test, validation;
  std::map<double, int> updates;
  void on_epoch(std::int64_t epoch, const EpochReport&, const Evaluation* e) override {
    test[epoch] = e ? e->loss() : -1;
  }
  void on_event(const std::string& event,
                const std::vector<std::pair<std::string, std::string>>& fields) override {
    if (event == "validation")
      validation[std::stoll(fields[0].second)] = std::stod(fields[2].second);
  }
};

// An evaluation at the end of an epoch that is interrupted is done by the run that goes on: nothing
// is missing, and early stopping decides as if nothing had happened. With one step an epoch, too.
TEST(Fit, AnEvaluationThatWasInterruptedIsDoneAgain) {
  for (const std::int64_t samples : {200, 20}) {
    SCOPED_TRACE(samples);
    const Spirals data(samples);
    FitOptions options{.epochs = 8, .lr = constant(0.1)};
    const auto run = [&](const BatchSource& test, const BatchSource& validation, Observer& seen) {
      options.test = &test;
      options.early_stopping = {.validation = &validation, .patience = 8};
      options.observer = &seen;
      Trainer t = trainer(0.2);
      const FitResult result = fit(t, data, options);
      set_interrupted(false);
      return std::pair(result, std::move(t.state()));
    };
    Measured whole;
    const auto expected = run(Interrupting(-1), Interrupting(-1), whole);
    ASSERT_EQ(whole.test.size(), 8u);
    for (const bool in_test : {true, false}) {
      SCOPED_TRACE(in_test ? "test" : "validation");
      const TempFile file;
      options.checkpoint = file.path;
      options.checkpoint_seconds = 1000;  // what saves is the end of an epoch
      options.resume = true;
      Measured parts;
      std::pair<FitResult, State> result;
      int runs = 0;
      do {
        ASSERT_LT(++runs, 20);
        const int at = 3 * runs - 1;  // in the middle of an evaluation, each time of a later one
        result = run(Interrupting(in_test ? at : -1), Interrupting(in_test ? -1 : at), parts);
        if (runs == 1) {
          const CheckpointInfo saved = load_checkpoint(file.path).info;
          EXPECT_EQ(saved.epoch, 0);
          EXPECT_EQ(saved.step, trainer().steps_per_epoch(data) - 1);
        }
      } while (!result.first.finished);
      EXPECT_GE(runs, 3);
      EXPECT_EQ(parts.test, whole.test);
      EXPECT_EQ(parts.validation, whole.validation);
      EXPECT_EQ(result.first.best_epoch, expected.first.best_epoch);
      EXPECT_TRUE(equal_bits(result.second, expected.second));
      options.checkpoint.clear();
    }
  }
}

TEST(EarlyStopping, RefusesAMetricThatIsNoNumber) {
  class Broken final : public tessera::testing::Labelled {
   public:
    Broken() : Labelled("broken", 3, {2}, 2) {}

   protected:
    std::int32_t make(std::int64_t, std::span<float> x) const override {
      std::fill(x.begin(), x.end(), std::numeric_limits<float>::quiet_NaN());
      return 0;
    }
  } broken;
  FitOptions options{.epochs = 2, .lr = constant(0.1)};
  options.early_stopping = {.validation = &broken, .metric = "loss"};
  Trainer t = trainer();
  EXPECT_EQ(error_of([&] { fit(t, Spirals(50), options); }),
            "broken: the loss of epoch 1 is nan; early stopping needs numbers");
}

}  // namespace
}  // namespace tessera::nn
