// The dense network that compressions start from: trained here, found in --out, or loaded. Training
// is restartable: it throws Interrupted (core/interrupt.h) when it is stopped; --resume goes on
// from there.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/model.h"
#include "experiment/measure.h"
#include "experiment/recipe.h"
#include "experiment/run.h"
#include "experiment/session.h"
#include "experiment/task.h"

namespace tessera::experiment {

// A trained dense network.
struct Reference {
  Model model;
  std::string weights_sha256;
  Measured test;
  std::filesystem::path file;
};

// Of all its tensors, as a safetensors file has them.
std::string weights_sha256(const Model& model);

// `from`: the network that training starts from, where it is not a fresh one.
Run reference_run(const Session& session, const Task& task, const TrainRecipe& recipe,
                  std::uint64_t seed, const Reference* from = nullptr);
// Throws Error where --out holds a reference, finished or begun, that these settings would not
// make: what is to be compressed is never trained anew unasked, nor replaced. With --overwrite too,
// which is about compressions. Done before any work, for every seed.
void require_usable_reference(const Session& session, const Run& run);
// The reference of these settings that is in --out; none when there is none.
std::optional<Reference> existing_reference(Session& session, const Task& task, const Run& run);
// That one, or one trained now.
Reference reference_for(Session& session, const Task& task, const TrainRecipe& recipe,
                        std::uint64_t seed);
// Trains, evaluates and saves NAME-reference-sSEED. With --resume an earlier run's stands, or is
// gone on with. Throws Error where one of other settings is, unless --overwrite was given.
Reference train_reference(Session& session, const Task& task, const TrainRecipe& recipe,
                          std::uint64_t seed, const Reference* from = nullptr);

// The network as its seed makes it, untrained: what methods that train from scratch start at. It
// has no file.
Reference untrained(const Task& task, std::uint64_t seed);

// A model file as the reference. Throws Error when it is not this task's dense network.
Reference load_reference(const Task& task, const std::filesystem::path& file);

}  // namespace tessera::experiment
