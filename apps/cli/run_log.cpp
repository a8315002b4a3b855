#include "apps/cli/run_log.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <ctime>
#include <system_error>

#include "experiment/measure.h"

namespace tessera::apps {

using namespace experiment;

namespace {

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char buffer[32];
  std::strftime(buffer, sizeof(buffer), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return buffer;
}

// A number where the whole text is one.
Json value_of(const std::string& text) {
  const char* end = text.data() + text.size();
  std::int64_t integer = 0;
  if (const auto [stop, error] = std::from_chars(text.data(), end, integer);
      error == std::errc() && stop == end) {
    return integer;
  }
  double number = 0;
  if (const auto [stop, error] = std::from_chars(text.data(), end, number);
      error == std::errc() && stop == end && std::isfinite(number)) {  // JSON has no NaN
    return number;
  }
  return text;
}

// As a process leaves it that was killed while it wrote.
bool ends_inside_line(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() <= 0) return false;
  file.seekg(-1, std::ios::end);
  return file.get() != '\n';
}

}  // namespace

RunLog::RunLog(const std::filesystem::path& path, bool append) : path_(path) {
  errno = 0;
  const bool cut = append && ends_inside_line(path);
  file_.open(path, append ? std::ios::app : std::ios::trunc);
  if (!file_.is_open()) fail_to_write();
  if (cut) file_ << "\n";
}

void RunLog::write(const std::string& event, Json fields) {
  fields["event"] = event;
  fields["time"] = utc_now();
  fields["seconds"] =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - opened_).count();
  for (const auto& [key, value] : run_.items()) fields.emplace(key, value);
  const std::string line = json_text(fields);
  errno = 0;
  file_ << line << std::endl;
  if (!file_) fail_to_write();
}

void RunLog::fail_to_write() const {
  const int code = errno;
  fail("cannot write the log ", path_.string(), code ? ": " : "",
       code ? std::generic_category().message(code) : "");
}

void RunLog::on_begin(const std::string& phase, std::int64_t epochs, const nn::Position& from) {
  phase_ = phase;
  epochs_ = epochs;
  done_ = static_cast<double>(from.epoch);
  write("begin",
        {{"phase", phase}, {"epochs", epochs}, {"epoch", from.epoch}, {"step", from.step}});
}

void RunLog::on_step(const nn::StepReport& step) {
  lr_ = step.lr;
  done_ = static_cast<double>(step.epoch) +
          static_cast<double>(step.step) / static_cast<double>(step.steps);
}

void RunLog::on_epoch(std::int64_t epoch, const nn::EpochReport& report,
                      const nn::Evaluation* test) {
  Json fields = {{"phase", phase_},
                 {"epoch", epoch + 1},
                 {"epochs", epochs_},
                 {"loss", report.loss},
                 {"lr", lr_},
                 {"steps", report.steps},
                 {"epoch_seconds", report.seconds},
                 {"data_seconds", report.data_seconds}};
  if (report.sent.bytes > 0) {
    const std::int64_t steps = std::max<std::int64_t>(report.steps, 1);
    fields["wait_seconds"] = report.sent.seconds;
    fields["sent_bytes_per_step"] = report.sent.bytes / steps;
    fields["messages_per_step"] = report.sent.messages / steps;
  }
  if (test) {
    // Behind a last update that was too large: before another step the trainer says so.
    const double loss = test->loss();
    check(std::isfinite(loss), "the loss on the ", measured_on_, " samples became ",
          std::isnan(loss) ? "no number" : "infinite", " in epoch ", epoch + 1, " of ", epochs_,
          ", behind step ", report.steps, "; a smaller learning rate may help (it was ", lr_, ")");
    for (const nn::Metric& metric : test->metrics) {
      if (!metric.count) fields[metric_key(metric, measured_on_)] = number_or_null(metric.value);
    }
  }
  write("epoch", std::move(fields));
}

void RunLog::on_event(const std::string& event,
                      const std::vector<std::pair<std::string, std::string>>& fields) {
  // A C step comes between epochs; the first, before any, has no phase yet.
  Json object = {{"phase", phase_}, {"epoch", done_}};
  for (const auto& [key, value] : fields) object[key] = value_of(value);
  write(event, std::move(object));
}

}  // namespace tessera::apps
