// The log of a run for programs: one JSON object per line.
#pragma once

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/files/json_io.h"
#include "nn/fit.h"

namespace tessera::apps {

// Every object has "event", "seconds" since the log was opened and "time" (UTC); what identifies
// the run (seed, method) is added to each by set_run, and "epoch", how many were done, to events.
// This is the only file that holds wall time.
class RunLog final : public nn::Observer {
 public:
  // Throws Error when the file cannot be written. `append`: go on behind what is there.
  RunLog(const std::filesystem::path& path, bool append);

  // A run that begins: nothing of it has been trained yet. Its evaluations become fields
  // "test_error" or "validation_error".
  void set_run(Json fields, const std::string& measured_on) {
    run_ = std::move(fields);
    measured_on_ = measured_on;
    phase_.clear();
    done_ = 0;
  }
  void write(const std::string& event, Json fields);

  void on_begin(const std::string& phase, std::int64_t epochs, const nn::Position& from) override;
  void on_step(const nn::StepReport& step) override;
  void on_epoch(std::int64_t epoch, const nn::EpochReport& report,
                const nn::Evaluation* test) override;
  void on_event(const std::string& event,
                const std::vector<std::pair<std::string, std::string>>& fields) override;

 private:
  [[noreturn]] void fail_to_write() const;  // saying why, as errno has it

  std::filesystem::path path_;
  std::ofstream file_;
  std::chrono::steady_clock::time_point opened_ = std::chrono::steady_clock::now();
  Json run_ = Json::object();
  std::string measured_on_ = "test", phase_;
  std::int64_t epochs_ = 0;
  double lr_ = 0, done_ = 0;  // epochs
};

}  // namespace tessera::apps
