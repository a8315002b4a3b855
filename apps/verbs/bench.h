// The two halves of bench.
#pragma once

#include "apps/verbs/verbs.h"
#include "experiment/compression.h"

namespace tessera::apps {

struct TrainBench {
  std::int64_t batch = 256;
  int repeat = 3;          // rounds
  std::int64_t steps = 0;  // timed in each round; 0: as many as fit some seconds
  bool bf16 = false;
  std::string gradients = "f32";              // what they travel as between ranks
  std::vector<std::string> methods = {"lc"};  // also steps of these ...
  std::string codebook = "adaptive:2";        // ... with these codebooks
  bool peak_memory = false;                   // report the most memory this process held
  std::string trace;                          // file for chrome://tracing, "" for none
};

// Whole training steps, data included, of full batches.
void bench_training(Session& session, const Task& task, const Recipes& recipes,
                    const TrainBench& options);

struct InferBench {
  int repeat = 3;  // rounds
  bool int8 = false;
  bool layers = false;  // also layer by layer: dense, exact and in integers
  std::string tune;     // file of measured kernels, "" for kernels by rule
};

// Inference of a model at several batch sizes, or, without one, of the network with initial
// weights, whose speed is the same, dense and at several codebooks.
void bench_inference(Session& session, const Task& task, const Recipes& recipes,
                     const std::optional<Model>& model, const std::vector<std::string>& codebooks,
                     const InferBench& options);

}  // namespace tessera::apps
