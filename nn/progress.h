// Progress of training and compression as lines of text: an observer of nn::fit and of
// quant::compress.
//   nn::Progress progress(std::cout);
//   nn::fit(trainer, data, {.epochs = 20, .lr = nn::constant(0.05), .observer = &progress});
#pragma once

#include <chrono>
#include <optional>
#include <ostream>
#include <string>

#include "nn/fit.h"

namespace tessera::nn {

class Progress final : public Observer {
 public:
  // `seconds`: at least so much time between the lines of two epochs, the last one's excepted.
  explicit Progress(std::ostream& out, double seconds = 0) : out_(out), seconds_(seconds) {}

  void on_begin(const std::string& phase, std::int64_t epochs, const Position& from) override;
  void on_epoch(std::int64_t epoch, const EpochReport& report, const Evaluation* test) override;
  // Every event on a line, with its fields whose names have no dot: those of single tensors do.
  void on_event(const std::string& event,
                const std::vector<std::pair<std::string, std::string>>& fields) override;

 private:
  using Clock = std::chrono::steady_clock;

  std::ostream& out_;
  double seconds_;
  std::string phase_;
  std::int64_t epochs_ = 0;
  std::optional<Clock::time_point> printed_at_;
};

}  // namespace tessera::nn
