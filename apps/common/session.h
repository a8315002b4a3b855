// One invocation of an application: where its files go, who hears of its progress, what it prints
// for people and for programs.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "apps/common/flags.h"
#include "apps/common/out_lock.h"
#include "apps/common/progress_line.h"
#include "apps/common/run_log.h"
#include "core/files/json_io.h"

namespace tessera::apps {

struct RunFlags {
  std::string out;   // folder of models, checkpoints and results
  std::string name;  // start of every file's name in it
  std::string log, json;
  int threads = 0;  // 0: as many as the machine offers
  double checkpoint_seconds = 20;
  bool resume = false, overwrite = false, quiet = false;

  // For verbs that only read.
  void add_reading_flags(FlagList& options);
  // For verbs that train or write models.
  void add_writing_flags(FlagList& options);
};

class Session {
 public:
  // Sets the number of threads. Touches no file.
  explicit Session(RunFlags flags);
  Session(const Session&) = delete;

  const RunFlags& flags() const { return flags_; }
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
  std::filesystem::path path(const std::string& file) const {
    return flags_.out / std::filesystem::path(file);
  }

  nn::Observer* observer() { return &observers_; }
  // A run of its own begins, with the log NAME.log.jsonl beside its other files; `fields` name it
  // in every line: {"seed": 1, "method": "lc"}. What it is evaluated on is called `measured_on`.
  void begin_run(const std::string& name, Json fields, const std::string& measured_on);
  void log(const std::string& event, const Json& fields);

  // Things passed over that the results should be read with; "problems" of the JSON.
  void report_problems(const std::vector<std::string>& lines);

  // Writes the JSON.
  void finish();

 private:
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
