#include "apps/verbs/bench_ranks.h"

#include <chrono>

#include "datasets/shard.h"
#include "nn/trainer_step.h"
#include "ops/communication/communication.h"
#include "ops/communication/reduction.h"
#include "report/table.h"
#include "timing/statistics.h"

namespace tessera::apps {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kSeed = 1;
constexpr double kLearningRate = 1e-3;

// The buckets of a step, of zeros.
struct Buckets {
  std::vector<std::unique_ptr<Reduction>> all;
  std::vector<std::vector<float>> values, residuals, mean_residuals;

  Buckets(Communicator& ranks, const Graph& step) {
    for (const Node& node : step.nodes()) {
      if (&node.op() != &kAllReduceStart) continue;
      std::vector<std::int64_t> sizes;
      for (const Value v : node.inputs().subspan(2)) sizes.push_back(v.shape().numel());
      std::vector<bool> exact(sizes.size());
      for (const std::int64_t i : node.attrs().integers("exact"))
        exact[static_cast<std::size_t>(i)] = true;
      const GradientCode code = GradientCode::parse(node.attrs().string("code"));
      all.push_back(std::make_unique<Reduction>(ranks, sizes, code, exact));
      const auto total = static_cast<std::size_t>(all.back()->total());
      Rng rng(1, all.size());
      auto& numbers = values.emplace_back(total);
      for (float& v : numbers) v = rng.normal();
      residuals.emplace_back(code.loses() ? total : 0);
      mean_residuals.emplace_back(code.loses() ? total : 0);
      sizes_.push_back(std::move(sizes));
    }
  }
  void run() {
    for (std::size_t b = 0; b < all.size(); ++b) {
      std::vector<const float*> tensors;
      const float* at = values[b].data();
      for (const std::int64_t n : sizes_[b]) tensors.push_back(at), at += n;
      float* residual = residuals[b].empty() ? nullptr : residuals[b].data();
      all[b]->start(tensors, residual, residual ? mean_residuals[b].data() : nullptr, residual);
    }
    for (std::size_t b = 0; b < all.size(); ++b) {
      std::vector<float*> tensors;
      float* at = values[b].data();
      for (const std::int64_t n : sizes_[b]) tensors.push_back(at), at += n;
      all[b]->finish(tensors, residuals[b].empty() ? nullptr : mean_residuals[b].data());
    }
  }

 private:
  std::vector<std::vector<std::int64_t>> sizes_;
};

}  // namespace

std::int64_t agreed(Session& session, std::int64_t own) {
  if (session.communicator() == nullptr) return own;
  return std::stoll(broadcast(*session.communicator(), std::to_string(own)));
}

void bind_rank(const Plan& plan, RunContext& context, const Session& session) {
  if (plan.has_input("rank")) {
    Tensor rank(DType::s64, {});
    rank.span<std::int64_t>()[0] = session.communicator()->rank();
    context.bind("rank", rank);
  }
  for (const char* vote : {nn::kStopVote, nn::kSaveVote}) {
    if (plan.has_input(vote)) context.set(vote, 0);
  }
}

void bench_ranks(Session& session, const Task& task, const TrainRecipe& recipe,
                 const std::shared_ptr<const BatchSource>& data, nn::Trainer& together,
                 const StepTimer& timed, std::int64_t steps, int repeat) {
  Communicator* ranks = session.communicator();
  if (ranks == nullptr) return;
  const auto meet = [&] { all_gather(*ranks, ""); };
  nn::TrainerOptions options = recipe.trainer(kSeed);
  options.batch = together.options().batch / ranks->size();
  nn::Trainer own = make_trainer(task, options);
  const auto mine = std::make_shared<datasets::Shard>(data, ranks->rank(), ranks->size());
  StepTimer alone(own, mine, kLearningRate);
  Buckets buckets(*ranks, together.train_graph());
  buckets.run();
  std::vector<std::vector<double>> travels;
  for (int r = 0; r < repeat; ++r) {
    meet();
    alone.run(steps);
    meet();
    auto& round = travels.emplace_back();
    for (std::int64_t s = 0; s < steps; ++s) {
      const auto start = Clock::now();
      buckets.run();
      round.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    }
  }
  const Timing step = timing_of(timed.rounds()), compute = timing_of(alone.rounds()),
               travel = timing_of(travels);
  const StepTraffic traffic = timed.traffic();
  session.text() << "\n"
                 << ranks->size() << " ranks, " << options.batch << " samples each; rank 0 sends "
                 << traffic.bytes << " bytes in " << traffic.messages
                 << " messages a step and waits " << fixed(100 * traffic.wait_share, 1)
                 << " % of it for others. Least ms: step " << fixed(step.least, 4)
                 << ", computing alone " << fixed(compute.least, 4) << ", gradients alone "
                 << fixed(travel.least, 4) << " (" << recipe.gradients << ").\n";
  session.json()["ranks"] = {{"ranks", ranks->size()},
                             {"batch", options.batch},
                             {"gradients", recipe.gradients},
                             {"sent_bytes_per_step", traffic.bytes},
                             {"messages_per_step", traffic.messages},
                             {"wait_share", traffic.wait_share},
                             {"step_ms", step.least},
                             {"compute_ms", compute.least},
                             {"gradients_ms", travel.least},
                             {"step_median_ms", step.median},
                             {"compute_median_ms", compute.median},
                             {"gradients_median_ms", travel.median}};
}

}  // namespace tessera::apps
