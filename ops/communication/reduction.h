// The mean over all ranks of some tensors, a bucket, while other work goes on.
//
// Every rank owns a part of the bucket. First it sends each other rank that one's part of its own
// values; the owner adds up what it got, in the order of the ranks, and divides; then it sends the
// mean to all. So each rank sends twice (ranks - 1) / ranks of the bucket, all have the same bits,
// and these do not depend on when messages arrive. Both times what is sent is coded, the same code
// is used by the sender itself, and what the code lost is added to what is sent the next time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/communicator.h"
#include "ops/communication/gradient_code.h"

namespace tessera {

class Reduction final : public Pending {
 public:
  // Numbers at whose multiples the ranks' parts begin (part_of).
  static constexpr std::int64_t kUnit = 32;

  // `sizes` of the tensors. Those of `exact`, by number, are never coded.
  Reduction(Communicator& ranks, std::vector<std::int64_t> sizes, GradientCode code,
            std::vector<bool> exact);
  ~Reduction() override;

  std::int64_t total() const { return static_cast<std::int64_t>(values_.size()); }
  // Takes the values. `residual`, total() numbers, is what the code has lost so far; what it will
  // have lost goes to `next`, when all else has been read. `mean_residual` likewise is of the
  // means, and only the own part of it counts. Null: nothing is kept.
  void start(std::span<const float* const> tensors, const float* residual = nullptr,
             const float* mean_residual = nullptr, float* next = nullptr);
  bool advance() override;
  // Waits, and writes the means; they may be where the values were.
  void finish(std::span<float* const> tensors, float* mean_residual);

 private:
  // A run of numbers of one tensor within one rank's part.
  struct Piece {
    std::int64_t begin, size;
    std::int64_t at;  // of its code, from the start of the part's
    GradientCode code;
  };
  void cut();
  void encode(int part, std::span<const float> values, std::byte* to) const;
  void decode(int part, const std::byte* from, std::span<float> values) const;
  void average();

  enum class Stage { idle, gathering, spreading, done };

  Communicator& ranks_;
  std::vector<std::int64_t> sizes_;
  GradientCode code_;
  std::vector<bool> exact_;
  std::vector<Range> parts_;                // by rank, of the bucket's numbers
  std::vector<std::vector<Piece>> pieces_;  // by rank
  std::vector<std::int64_t> bytes_;         // of each part's code
  std::vector<float> values_, decoded_, mean_residual_;
  std::vector<std::vector<std::byte>> sent_, received_, means_;
  std::int64_t spread_tag_ = 0;
  std::unique_ptr<Pending> exchange_;
  Stage stage_ = Stage::idle;
};

}  // namespace tessera
