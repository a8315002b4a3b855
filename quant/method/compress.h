// Running a compression method on a trained network.
#pragma once

#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/fit.h"
#include "quant/method/method.h"

namespace tessera::quant {

struct CompressOptions {
  std::filesystem::path checkpoint;  // none when empty
  double checkpoint_seconds = 20;
  bool resume = false;
  Config config;                      // everything that shapes the result
  const BatchSource* test = nullptr;  // Delta(Theta) is evaluated on it after C steps, when given
  std::int64_t test_every = 1;        // ... every this many C steps
  std::string test_name = "test";     // what `test` is called in events: "test_error"
  nn::Observer* observer = nullptr;
};

struct CompressResult {
  bool finished = false;  // false: interrupted
  Codebooks codebooks;
  std::vector<CStepReport> c_steps;  // of this process
  double seconds = 0;                // of all processes that worked on it
  std::string chosen = {};           // Method::chosen()
};

// Starts from the trainer's current weights (the reference) and leaves the trainer at the method's
// final weights. The task loss, objectives and weight transforms that the trainer has stay in force
// beside what the method adds, and remain alone afterwards. Every C step is reported as an event
// "c_step" with ||w - Delta||/||w||, mu and the share of indices that changed, for each tensor and
// all together.
CompressResult compress(nn::Trainer& trainer, const BatchSource& data, const CompressionPlan& plan,
                        Method& method, const CompressOptions& options = {});

// The same of a method that works after training: reported as one C step, the one that DC is.
CompressResult compress(nn::Trainer& trainer, const BatchSource& data, const CompressionPlan& plan,
                        const PostTraining& method, const CompressOptions& options = {});
// Any method, trained or after training, as the list has it (method_list.h).
struct AnyMethod {
  template <std::derived_from<Method> M>
  AnyMethod(std::unique_ptr<M> method) : training(std::move(method)) {}
  AnyMethod(PostTraining method) : after(std::move(method)) {}

  std::unique_ptr<Method> training;  // or:
  PostTraining after;

  std::string name() const { return training ? training->name() : after.name; }
  std::int64_t epochs() const { return training ? training->epochs() : 0; }
  // Whether it looks at training data, by training or by calibration.
  bool needs_data() const { return training || after.samples > 0; }
  void require(const CompressionPlan& plan) const;  // throws Error
};
CompressResult compress(nn::Trainer& trainer, const BatchSource& data, const CompressionPlan& plan,
                        AnyMethod& method, const CompressOptions& options = {});

// Codebooks of a network without a run: what compress() would give. `data` may be null for methods
// that look at none.
Codebooks compressed(nn::Trainer& trainer, const CompressionPlan& plan, const PostTraining& method,
                     const BatchSource* data = nullptr);
// The trainer as compress() has it at the begin of an epoch, for measuring steps of it: what comes
// between epochs is left out.
void start_at(nn::Trainer& trainer, const BatchSource& data, const CompressionPlan& plan,
              Method& method, double epoch);

// The hardened inference model of a finished run.
Model harden(const nn::Trainer& trainer, const Codebooks& codebooks);

}  // namespace tessera::quant
