// One invocation of an application: where its files go, who hears of its progress, what it prints
// for people and for programs.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "apps/cli/out_lock.h"
#include "apps/cli/progress_line.h"
#include "apps/cli/run_log.h"
#include "core/files/json_io.h"
#include "core/values.h"
#include "experiment/flag_list.h"
#include "experiment/session.h"

namespace tessera::apps {

using namespace experiment;

struct RunFlags : OutSettings {
  std::string log, json;
  int threads = 0;  // 0: as many as the machine offers
  bool quiet = false;

  // For verbs that only read.
  void add_reading_flags(FlagList& options);
  // For verbs that train or write models.
  void add_writing_flags(FlagList& options);
};

class Session final : public experiment::Session {
 public:
  // Sets the number of threads. Touches no file of --out.
  explicit Session(RunFlags flags);

  const RunFlags& flags() const { return flags_; }
  Communicator* communicator() const override;
  void text(const std::string& lines) override { text() << lines << std::flush; }
  void detail(const std::string& lines) override { detail() << lines << std::flush; }
  // Text for people: stdout; when stdout carries the JSON stderr, or nowhere with --quiet.
  std::ostream& text();
  // Text that --quiet leaves out.
  std::ostream& detail();
  // What --json writes.
  Json& json() { return json_; }

  // Creates the folder and the log. Called when all input has been checked and before work begins,
  // so that a folder that cannot be written, or that another process writes to, ends the run here.
  // Throws Error.
  void open_outputs();

  nn::Observer* observer() override { return &observers_; }
  void begin_run(const std::string& name, Json fields, const std::string& measured_on) override;
  void log(const std::string& event, const Json& fields) override;

  // Things passed over that the results should be read with; "problems" of the JSON.
  void report_problems(const std::vector<std::string>& lines);

  // Writes the JSON.
  void finish();

 private:
  struct Mine {};  // flags as this rank takes them
  Session(RunFlags flags, Mine);
  void observe();  // by whatever there is now

  RunFlags flags_;
  std::optional<OutLock> lock_;
  Json json_ = Json::object();
  std::unique_ptr<std::ostream> nowhere_;
  std::optional<ProgressLine> progress_;
  std::optional<RunLog> log_, run_log_;  // of everything (--log), of the run in progress
  nn::Observers observers_;
};

}  // namespace tessera::apps
