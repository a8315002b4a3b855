// Progress of training for people: one changing line on a terminal, plain lines elsewhere. No line
// is longer than the terminal is wide: what is worth least is left out.
#pragma once

#include <chrono>
#include <ostream>
#include <string>
#include <vector>

#include "nn/fit.h"

namespace tessera::apps {

// A part of a line, and how soon it is left out: the highest first, 0 never.
struct LinePart {
  std::string text;
  int rank = 0;
};
// The parts that fit into `columns` (0: any number), two spaces between them.
std::string fitted(std::vector<LinePart> parts, int columns);
// The same with a bar of 8 to 24 places behind the first part, which shows `share` of it done.
std::string fitted_bar(std::vector<LinePart> parts, double share, int columns);

class ProgressLine final : public nn::Observer {
 public:
  // `terminal`: whether a line may be redrawn. Lines that stay go to `lines`, the changing one to
  // stderr.
  ProgressLine(std::ostream& lines, bool terminal) : lines_(lines), terminal_(terminal) {}

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
  void print(std::vector<LinePart> parts);  // a line that stays

  std::ostream& lines_;
  bool terminal_;
  bool drawn_ = false;
  std::string measured_on_ = "test", phase_;
  std::string mu_, distance_;  // of the last C step
  std::int64_t epochs_ = 0;
  double lr_ = 0, begun_at_ = 0;
  Clock::time_point begun_, drawn_at_, printed_at_;
};

}  // namespace tessera::apps
