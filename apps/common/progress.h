// Progress of training for people: one changing line on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <ostream>
#include <string>

#include "nn/fit.h"

namespace tessera::apps {

class Progress final : public nn::Observer {
 public:
  // `terminal`: whether a line may be redrawn. Lines that stay go to `lines`, the changing one to
  // stderr.
  Progress(std::ostream& lines, bool terminal) : lines_(lines), terminal_(terminal) {}

  // What evaluations are of: "test" or "validation".
  void set_measured_on(const std::string& name) { measured_on_ = name; }

  void on_begin(const std::string& phase, std::int64_t epochs, const nn::Position& from) override;
  void on_step(const nn::StepReport& step) override;
  void on_epoch(std::int64_t epoch, const nn::EpochReport& report,
                const nn::Evaluation* test) override;
  void on_event(const std::string& event,
                const std::vector<std::pair<std::string, std::string>>& fields) override;
  void on_end() override { erase(); }

 private:
  using Clock = std::chrono::steady_clock;
  std::string eta(double epochs_done) const;
  void erase();

  std::ostream& lines_;
  bool terminal_;
  bool drawn_ = false;
  std::string measured_on_ = "test", phase_;
  std::string penalty_;  // of the last C step
  std::int64_t epochs_ = 0;
  double lr_ = 0, begun_at_ = 0;
  Clock::time_point begun_, drawn_at_, printed_at_;
};

}  // namespace tessera::apps
