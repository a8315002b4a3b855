// How long inference takes, and with which kernels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/model.h"
#include "timing/statistics.h"

namespace tessera::experiment {

struct Latency {
  std::int64_t batch = 1;
  Timing us;
  std::int64_t runs = 0, rounds = 0;
  std::int64_t bytes = 0;         // that the steps of one run read and write, each operand once
  std::int64_t weight_bytes = 0;  // that the plan keeps for weights, in the kernels' arrangement
  PlanMemory memory;              // of the plan
  int threads = 1;                // that a run used at most
  double flops = 0;
  // Of the steps that do arithmetic, one by one; what only looks rows up does none.
  struct Work {
    double flops = 0;
    std::int64_t bytes = 0;
  };
  std::vector<Work> work;
  std::string kernels;               // of the steps that do the arithmetic, "a+b"
  std::vector<std::string> decoded;  // whole-tensor decodes of the plan
};

// Microseconds that the work takes at least where each step either multiplies at `gflops` or reads
// its operands at `gbps`.
double floor_us(const std::vector<Latency::Work>& work, double gflops, double gbps);

// Runs a frozen plan for about `seconds` on one input, caches hot: in rounds, each with a context
// of its own (memory elsewhere) and after a warm-up.
Latency measure_latency(const Model& model, const CompileOptions& options, double seconds = 0.25);

// "4.3", or "4.3~" for an unstable one.
std::string least_text(const Timing& timing, int digits);
// What a table with such cells says below it when one of them is unstable.
inline constexpr const char* kUnstableNote =
    "~ unstable: the slowest tenth of a round took more than 1.5 times the least";

// One step of a plan, timed.
struct TimedStep {
  std::string name, op, kernel, type;
  double ms = 0;  // median
  double flops = 0;
  std::int64_t bytes = 0;
};

// The steps of a plan by their medians over `runs` profiled runs; steps that run once are left out.
// `last` receives the seconds of the last run in the order of Plan::steps, for a trace.
std::vector<TimedStep> profile_steps(const Plan& plan, RunContext& context, int runs,
                                     std::vector<double>* last = nullptr);

// The steps of inference that read one weight, or, with an empty name, all that read none.
struct LayerTime {
  std::string weight, type, kernels;  // type: of what the last of the steps gives
  double us = 0;                      // least
  double flops = 0;
  std::int64_t bytes = 0;  // read and written
};

// A frozen plan by layers, in the order of their first steps, the steps without weights last, on
// one input, caches hot, over about `seconds`.
std::vector<LayerTime> measure_layers(const Model& model, const CompileOptions& options,
                                      double seconds = 0.5);

}  // namespace tessera::experiment
