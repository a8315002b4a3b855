// The two things every application does: train a dense reference, and compress one. Both are
// restartable, and what they report is measured on the files they wrote.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/common/recipe.h"
#include "apps/common/results.h"
#include "apps/common/session.h"
#include "apps/common/task.h"
#include "core/model.h"

namespace tessera::apps {

// A trained dense network.
struct Reference {
  Model model;
  std::string weights_sha256;
  nn::Evaluation test;
  std::filesystem::path file;
};

// Trains, evaluates and saves NAME-reference-sSEED. None when interrupted.
std::optional<Reference> train_reference(Session& session, const Task& task,
                                         const TrainRecipe& recipe, std::uint64_t seed);

// A model file as the reference. Throws Error when it is not this task's dense network.
Reference load_reference(const Task& task, const std::filesystem::path& file);

// Throws Error when a model was made for other data: settings that both name must be equal.
void require_same_settings(const std::string& file, const std::map<std::string, std::string>& model,
                           const Config& task);

// One finished compression, as measured.
struct Compression {
  std::string method, codebook, file, kernel;
  std::int64_t seed = 0;
  double error_before = 0, error_dc = 0, error_after = 0;  // percent of the test set
  double loss_after = 0;
  std::int64_t correct = 0, samples = 0;
  std::int64_t weights_bytes = 0, json_bytes = 0;  // of the files
  double bits_per_weight = 0, entropy_bits = 0, ratio = 0;
  double dense_us = 0, packed_us = 0;  // latency at batch 1, median
  double distance = 0;                 // ||w - Delta||/||w|| of the last C step
  double seconds = 0;                  // of the method

  Json json() const;
  static Compression parse(const Json& json, const std::string& file);
};

// The plan for `weights`, or for a freshly initialised network: what compress prints before any
// work. Throws Error for what cannot work.
std::string plan_text(const Task& task, const CompressRecipe& recipe, const std::string& codebook,
                      const State* weights);

// Compresses, hardens, saves NAME-METHOD-CODEBOOK-sSEED, loads that file and measures it. None when
// interrupted.
std::optional<Compression> compress_reference(Session& session, const Task& task,
                                              const Reference& reference,
                                              const CompressRecipe& recipe,
                                              const std::string& method,
                                              const std::string& codebook, std::uint64_t seed);

}  // namespace tessera::apps
