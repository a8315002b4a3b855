#include "apps/cli/progress_line.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "core/text.h"
#include "report/table.h"
#include "report/terminal.h"

namespace tessera::apps {

using namespace experiment;

namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kBetweenLines = std::chrono::seconds(3);
constexpr int kBarWidth = 24, kLeastBar = 8;

std::string general(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.3g", value);
  return buffer;
}

int length_of(const std::vector<LinePart>& parts) {
  int length = 0;
  for (const LinePart& part : parts) length += static_cast<int>(part.text.size()) + 2;
  return length - (parts.empty() ? 0 : 2);
}

// Until the rest is at most that long, or cannot be left out.
void leave_out(std::vector<LinePart>& parts, int columns) {
  while (columns > 0 && length_of(parts) > columns) {
    const auto least =
        std::max_element(parts.begin(), parts.end(),
                         [](const LinePart& a, const LinePart& b) { return a.rank < b.rank; });
    if (least == parts.end() || least->rank == 0) return;
    parts.erase(least);
  }
}

std::string joined(const std::vector<LinePart>& parts) {
  std::string line;
  for (const LinePart& part : parts) line += (line.empty() ? "" : "  ") + part.text;
  return line;
}

}  // namespace

std::string fitted(std::vector<LinePart> parts, int columns) {
  leave_out(parts, columns);
  std::string line = joined(parts);
  if (columns > 0) line.resize(std::min(line.size(), static_cast<std::size_t>(columns)));
  return line;
}

std::string fitted_bar(std::vector<LinePart> parts, double share, int columns) {
  constexpr int kBrackets = 4;  // and the two spaces
  leave_out(parts, columns > 0 ? std::max(1, columns - kLeastBar - kBrackets) : 0);
  const int room = columns > 0 ? columns - length_of(parts) - kBrackets : kBarWidth;
  if (room < kLeastBar) return fitted(std::move(parts), columns);
  const int width = std::min(room, kBarWidth);
  const int done = std::clamp(static_cast<int>(share * width), 0, width);
  parts.insert(parts.begin() + 1,
               {"[" + std::string(static_cast<std::size_t>(done), '#') +
                    std::string(static_cast<std::size_t>(width - done), '.') + "]",
                0});
  return joined(parts);
}

void ProgressLine::print(std::vector<LinePart> parts) {
  erase();
  const int columns = terminal_columns(lines_);
  lines_ << "  " << fitted(std::move(parts), columns > 2 ? columns - 2 : columns) << std::endl;
  printed_at_ = Clock::now();
}

void ProgressLine::on_begin(const std::string& phase, std::int64_t epochs,
                            const nn::Position& from) {
  phase_ = phase;
  epochs_ = epochs;
  begun_at_ = static_cast<double>(from.epoch);
  begun_ = drawn_at_ = printed_at_ = Clock::now();
  if (phase_ == "train") mu_.clear(), distance_.clear();
  if (from.epoch > 0 || from.step > 0) {
    lines_ << phase_ << ": going on in epoch " << from.epoch + 1 << " of " << epochs_ << "\n";
  }
}

std::string ProgressLine::eta(double epochs_done) const {
  const double seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
  const double done = epochs_done - begun_at_;
  if (done <= 0) return "?";
  return duration_text(seconds / done * (static_cast<double>(epochs_) - epochs_done));
}

void ProgressLine::erase() {
  if (!drawn_) return;
  std::cerr << "\r\033[K" << std::flush;
  drawn_ = false;
}

void ProgressLine::on_step(const nn::StepReport& step) {
  lr_ = step.lr;
  if (!terminal_) return;
  const auto now = Clock::now();
  if (now - drawn_at_ < kRedraw) return;
  drawn_at_ = now;
  const double done = static_cast<double>(step.epoch) +
                      static_cast<double>(step.step) / static_cast<double>(step.steps);
  const double share = done / static_cast<double>(std::max<std::int64_t>(epochs_, 1));
  std::vector<LinePart> parts = {{phase_},
                                 {cat(step.epoch + 1, "/", epochs_)},
                                 {"loss " + general(step.loss), 1},
                                 {"lr " + general(step.lr), 4}};
  if (!mu_.empty()) parts.push_back({"mu " + mu_, 5});
  if (!distance_.empty()) parts.push_back({"|w-D|/|w| " + distance_, 3});
  parts.push_back({"eta " + eta(done), 2});
  // A line of the full width would wrap on some terminals, and leave a copy at each redrawing.
  const int columns = std::max(2, terminal_columns(STDERR_FILENO)) - 1;
  std::cerr << "\r\033[K" << fitted_bar(std::move(parts), share, columns) << std::flush;
  drawn_ = true;
}

void ProgressLine::on_epoch(std::int64_t epoch, const nn::EpochReport& report,
                            const nn::Evaluation* test) {
  const auto now = Clock::now();
  const bool last = epoch + 1 == epochs_;
  // A line at most every few seconds: an epoch may take a tenth of one.
  if (!last && now - printed_at_ < kBetweenLines) return;
  std::vector<LinePart> parts = {{cat(phase_, " epoch ", epoch + 1, "/", epochs_)},
                                 {"loss " + general(report.loss), 1},
                                 {"lr " + general(lr_), 4}};
  if (test)
    parts.push_back(
        {cat(measured_on_, " ", test->metric().title(), " ", test->metric().text()), 1});
  // Data that the steps wait for is worth knowing.
  if (report.data_seconds > 0.1 * report.seconds) {
    const double share = 100 * report.data_seconds / report.seconds;
    parts.push_back({cat("waiting for data ", fixed(share, 0), " %"), 3});
  }
  if (report.sent.seconds > 0.1 * report.seconds) {
    const double share = 100 * report.sent.seconds / report.seconds;
    parts.push_back({cat("waiting for other ranks ", fixed(share, 0), " %"), 3});
  }
  if (!last) parts.push_back({"eta " + eta(static_cast<double>(epoch + 1)), 2});
  print(std::move(parts));
}

void ProgressLine::on_event(const std::string& event,
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
  mu_ = general(number("mu"));
  distance_ = fixed(number("distance"), 4);
  std::vector<LinePart> parts = {
      {cat("C step ", value("step") ? *value("step") : "?")},
      {"mu " + mu_, 4},
      {"||w-Delta||/||w|| " + distance_, 2},
      {cat("indices changed ", fixed(100 * number("changed"), 2), " %"), 3}};
  if (const std::string error = measured_on_ + "_error"; value(error))
    parts.push_back({cat(measured_on_, " error ", fixed(number(error), 2), " %"), 1});
  print(std::move(parts));
}

}  // namespace tessera::apps
