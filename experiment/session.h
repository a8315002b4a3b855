// Where an experiment keeps its files, and whom it tells what it does.
#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "core/files/json_io.h"
#include "nn/fit.h"

namespace tessera::experiment {

struct OutSettings {
  std::string out;   // folder of models, checkpoints and results
  std::string name;  // start of every file's name in it
  double checkpoint_seconds = 20;
  bool resume = false, overwrite = false;
};

class Session {
 public:
  explicit Session(OutSettings out) : out_(std::move(out)) {}
  virtual ~Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const OutSettings& out() const { return out_; }
  std::filesystem::path path(const std::string& file) const {
    return out_.out / std::filesystem::path(file);
  }

  // The ranks that train together; null: this process is alone. Of the others only rank 0 has out()
  // as it was asked for.
  virtual Communicator* communicator() const { return nullptr; }

  // Whole lines for people; detail is what may be left out.
  virtual void text(const std::string& lines) = 0;
  virtual void detail(const std::string& lines) = 0;
  virtual nn::Observer* observer() = 0;
  // A run of its own begins, with the log NAME.log.jsonl beside its other files; `fields` name it
  // in every line: {"seed": 1, "method": "lc"}. What it is evaluated on is called `measured_on`.
  virtual void begin_run(const std::string& name, Json fields, const std::string& measured_on) = 0;
  virtual void log(const std::string& event, const Json& fields) = 0;

 private:
  OutSettings out_;
};

}  // namespace tessera::experiment
