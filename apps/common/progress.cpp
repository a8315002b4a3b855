#include "apps/common/progress.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "apps/common/table.h"

namespace tessera::apps {

namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kBetweenLines = std::chrono::seconds(3);
constexpr int kBarWidth = 24;

std::string general(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.3g", value);
  return buffer;
}

}  // namespace

void Progress::on_begin(const std::string& phase, std::int64_t epochs, const nn::Position& from) {
  phase_ = phase;
  epochs_ = epochs;
  begun_at_ = static_cast<double>(from.epoch);
  begun_ = drawn_at_ = printed_at_ = Clock::now();
  if (phase_ == "train") penalty_.clear();
  if (from.epoch > 0 || from.step > 0) {
    lines_ << phase_ << ": going on in epoch " << from.epoch + 1 << " of " << epochs_ << "\n";
  }
}

std::string Progress::eta(double epochs_done) const {
  const double seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
  const double done = epochs_done - begun_at_;
  if (done <= 0) return "?";
  return duration_text(seconds / done * (static_cast<double>(epochs_) - epochs_done));
}

void Progress::erase() {
  if (!drawn_) return;
  std::cerr << "\r\033[K" << std::flush;
  drawn_ = false;
}

void Progress::on_step(const nn::StepReport& step) {
  lr_ = step.lr;
  if (!terminal_) return;
  const auto now = Clock::now();
  if (now - drawn_at_ < kRedraw) return;
  drawn_at_ = now;
  const double done = static_cast<double>(step.epoch) +
                      static_cast<double>(step.step) / static_cast<double>(step.steps);
  const double share = done / static_cast<double>(std::max<std::int64_t>(epochs_, 1));
  const int filled = std::clamp(static_cast<int>(share * kBarWidth), 0, kBarWidth);
  std::cerr << "\r\033[K" << phase_ << " [" << std::string(static_cast<std::size_t>(filled), '#')
            << std::string(static_cast<std::size_t>(kBarWidth - filled), '.') << "] "
            << step.epoch + 1 << "/" << epochs_ << "  loss " << general(step.loss) << "  lr "
            << general(step.lr) << penalty_ << "  eta " << eta(done) << std::flush;
  drawn_ = true;
}

void Progress::on_epoch(std::int64_t epoch, const nn::EpochReport& report,
                        const nn::Evaluation* test) {
  const auto now = Clock::now();
  const bool last = epoch + 1 == epochs_;
  // A line at most every few seconds: an epoch may take a tenth of one.
  if (!last && now - printed_at_ < kBetweenLines) return;
  printed_at_ = now;
  erase();
  lines_ << "  " << phase_ << " epoch " << epoch + 1 << "/" << epochs_ << "  loss "
         << general(report.loss) << "  lr " << general(lr_);
  if (test) lines_ << "  " << measured_on_ << " error " << fixed(test->error_percent(), 2) << " %";
  // Data that the steps wait for is worth knowing.
  if (report.data_seconds > 0.1 * report.seconds)
    lines_ << "  waiting for data " << fixed(100 * report.data_seconds / report.seconds, 0) << " %";
  if (!last) lines_ << "  eta " << eta(static_cast<double>(epoch + 1));
  lines_ << std::endl;
}

void Progress::on_event(const std::string& event,
                        const std::vector<std::pair<std::string, std::string>>& fields) {
  if (event != "c_step") return;
  const auto value = [&](const std::string& key) -> const std::string* {
    const auto found =
        std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.first == key; });
    return found == fields.end() ? nullptr : &found->second;
  };
  const auto number = [&](const std::string& key) {
    const std::string* text = value(key);
    return text ? std::strtod(text->c_str(), nullptr) : 0.0;
  };
  erase();
  const std::string mu = general(number("mu")), distance = fixed(number("distance"), 4);
  lines_ << "  C step " << (value("step") ? *value("step") : "?") << "  mu " << mu
         << "  ||w-Delta||/||w|| " << distance << "  indices changed "
         << fixed(100 * number("changed"), 2) << " %";
  if (const std::string error = measured_on_ + "_error"; value(error)) {
    lines_ << "  " << measured_on_ << " error " << fixed(number(error), 2) << " %";
  }
  lines_ << std::endl;
  penalty_ = "  mu " + mu + "  |w-D|/|w| " + distance;
  printed_at_ = Clock::now();
}

}  // namespace tessera::apps
