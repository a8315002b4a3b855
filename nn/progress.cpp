#include "nn/progress.h"

#include <cstdio>

namespace tessera::nn {

namespace {

std::string number(const char* format, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), format, value);
  return buffer;
}

}  // namespace

void Progress::on_begin(const std::string& phase, std::int64_t epochs, const Position& from) {
  phase_ = phase;
  epochs_ = epochs;
  printed_at_.reset();
  if (from.epoch > 0 || from.step > 0)
    out_ << phase_ << ": going on in epoch " << from.epoch + 1 << " of " << epochs_ << std::endl;
}

void Progress::on_epoch(std::int64_t epoch, const EpochReport& report, const Evaluation* test) {
  const auto now = Clock::now();
  if (printed_at_ && epoch + 1 < epochs_ &&
      std::chrono::duration<double>(now - *printed_at_).count() < seconds_)
    return;
  printed_at_ = now;
  out_ << phase_ << ": epoch " << epoch + 1 << "/" << epochs_ << ", loss "
       << number("%.4g", report.loss) << ", " << number("%.3g", report.seconds) << " s";
  if (test) out_ << ", test " << test->metric().name << " " << test->metric().text();
  out_ << std::endl;
}

void Progress::on_event(const std::string& event,
                        const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string line;
  for (const auto& [name, value] : fields) {
    if (name.find('.') != std::string::npos) continue;
    line += cat(line.empty() ? " " : ", ", name, " ", value);
  }
  out_ << phase_ << ": " << event << line << std::endl;
}

}  // namespace tessera::nn
