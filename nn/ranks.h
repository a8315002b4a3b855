// Several ranks that train one network, each on its rows of every batch.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/batch_source.h"
#include "core/communicator.h"
#include "core/state.h"
#include "nn/task.h"
#include "ops/communication/gradient_code.h"

namespace tessera::nn {

struct Ranks {
  Communicator* communicator = nullptr;  // null, or of one rank: training is as ever
  GradientCode gradients = {};           // what they travel as
  // Gradients travel in buckets of up to so many bytes (a larger one alone), in the order in which
  // the backward pass makes them: the smaller they are, the earlier the first one leaves.
  std::int64_t bucket_bytes = 512 << 10;

  int size() const { return communicator ? communicator->size() : 1; }
  int rank() const { return communicator ? communicator->rank() : 0; }
  bool alone() const { return size() == 1; }
};

// Of some states each rank has something of its own, as their names say:
//   carried.NAME              rows of a joint value, rank by rank
//   gradients.N.residual      what its code of a bucket has lost
//   gradients.N.mean_residual the same of the means, of which each rank owns a part
inline constexpr const char *kCarriedPrefix = "carried.", *kGradientsPrefix = "gradients.";
bool is_rank_state(const std::string& name);
bool has_rank_states(const State& state);
// What a checkpoint of all ranks holds: the rows and the parts put together, and the residuals of
// all ranks, [ranks, ...]. Every rank calls it and gets it.
State gathered(Communicator& ranks, const State& state);
// The part of it that is this rank's. Where another number of ranks wrote it, each has the mean of
// the residuals, which adds as much to the means of the gradients; one process has none. Throws
// Error for rows that the ranks cannot share.
void take_own(const Ranks& ranks, State& state);

// What rank 0 found.
Evaluation shared(Communicator& ranks, Evaluation evaluation);

// Throws Error on every rank, naming the first item that rank 0 and another one differ in, unless
// all have the same: {"the configuration", digest}.
void require_agreement(Communicator& ranks,
                       const std::vector<std::pair<std::string, std::string>>& items);
// Of the samples, by some batches of the first epoch, and of tensors.
std::string digest(const BatchSource& data, std::int64_t batch);
std::string digest(const State& state);

}  // namespace tessera::nn
