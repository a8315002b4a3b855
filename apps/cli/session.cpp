#include "apps/cli/session.h"

#include <unistd.h>

#include <iostream>

#include "apps/cli/ranks.h"
#include "core/files/atomic_file.h"
#include "core/interrupt.h"
#include "core/parallel.h"

namespace tessera::apps {

namespace {

namespace fs = std::filesystem;

// Fails now rather than after an hour of training.
void require_writable(const fs::path& folder, const std::string& what) {
  const fs::path probe = folder / cat(".probe-", ::getpid());
  try {
    write_file(probe, "");
  } catch (const Error& error) {
    std::string why = error.what();  // of a file that nobody has heard of
    if (const auto at = why.find(probe.string()); at != why.npos) {
      why.replace(at, probe.string().size(), folder.string());
    }
    fail(what, ": ", why);
  }
  std::error_code ignored;
  fs::remove(probe, ignored);
}

// The same of a file: that it can be written when the work is done.
void require_writable_file(const fs::path& file, const std::string& what) {
  std::error_code none;
  const fs::file_status there = fs::status(file, none);
  check(!fs::is_directory(there), what, ": is a folder; expected the name of a file");
  if (fs::exists(there) && !fs::is_regular_file(there)) return;  // a device or a pipe
  const fs::path folder = follow_links(file).parent_path();
  require_writable(folder.empty() ? "." : folder, what);
}

void create_folder(const fs::path& folder, const std::string& what) {
  std::error_code error;
  fs::create_directories(folder, error);
  check(!error && fs::is_directory(folder), what, " ", folder.string(), ": cannot be created",
        error ? ": " + error.message() : "");
}

}  // namespace

void RunFlags::add_reading_flags(FlagList& options) {
  auto add = options.add_options();
  const auto take_threads = [this](std::int64_t n) {
    check_range("--threads", static_cast<double>(n), 0, kMaxThreads);
    threads = static_cast<int>(n);
  };
  add("threads", number_flag(take_threads), "threads (default: all cores)");
  add("json", text_flag(json, "FILE"), "write every result as JSON; - is stdout");
  add("quiet", on_flag(quiet), "print results only");
}

void RunFlags::add_writing_flags(FlagList& options) {
  add_reading_flags(options);
  auto add = options.add_options();
  add("out", text_flag(out, "DIR"), "folder of models, checkpoints and results");
  add("name", text_flag(name, "NAME"), "start of the files' names");
  add("log", text_flag(log, "FILE"), "write a line of JSON per epoch, C step and result");
  add("resume", on_flag(resume),
      "go on where a run with the same flags stopped; finished parts are not repeated");
  add("overwrite", on_flag(overwrite),
      "replace what other flags left under the same name; without it that is an error");
  add("checkpoint-seconds", flag(checkpoint_seconds, "S"), "at most this much work is lost");
}

namespace {

// Ranks that do not lead are silent and write where nobody looks.
RunFlags of_this_rank(RunFlags flags) {
  if (world() == nullptr) return flags;
  const std::filesystem::path folder = own_folder(flags.out, flags.name);
  if (leads()) return flags;
  flags.out = folder.string();
  flags.log.clear();
  flags.json.clear();
  flags.quiet = true;
  return flags;
}

}  // namespace

Session::Session(RunFlags flags) : Session(of_this_rank(std::move(flags)), Mine()) {}

Session::Session(RunFlags flags, Mine) : experiment::Session(flags), flags_(std::move(flags)) {
  if (flags_.threads != 0) set_num_threads(flags_.threads);
  check(!flags_.resume || !flags_.overwrite,
        "--resume goes on with what is there, --overwrite replaces it: they exclude each other");
  check_range("--checkpoint-seconds", flags_.checkpoint_seconds, 0, 1e9);
  check(flags_.name.find('/') == std::string::npos, "--name '", flags_.name,
        "' may not contain '/'; the folder is --out");
  check(escaped(flags_.name) == flags_.name, "--name '", flags_.name,
        "' may not contain control characters");
  check(!flags_.name.starts_with('.'), "--name '", flags_.name,
        "' may not begin with '.': the files would be hidden, or a folder");
  nowhere_ = std::make_unique<std::ostream>(nullptr);
  progress_.emplace(detail(), !flags_.quiet && ::isatty(STDERR_FILENO));
  observe();
}

void Session::observe() {
  observers_ = {};
  observers_.add(&*progress_);
  if (log_) observers_.add(&*log_);
  if (run_log_) observers_.add(&*run_log_);
}

Communicator* Session::communicator() const {
  return world();
}

std::ostream& Session::text() {
  if (!leads()) return *nowhere_;
  if (flags_.json != "-") return std::cout;
  return flags_.quiet ? *nowhere_ : std::cerr;
}
std::ostream& Session::detail() {
  return flags_.quiet ? *nowhere_ : text();
}

void Session::open_outputs() {
  if (!flags_.out.empty()) {
    create_folder(flags_.out, "--out");
    if (!lock_) lock_.emplace(flags_.out);
    require_writable(flags_.out, "--out " + flags_.out);
    if (leads())
      set_interrupt_note(cat("Interrupted; what was done is in ", flags_.out,
                             ". The same command with --resume goes on from there.\n"));
  }
  if (!flags_.json.empty() && flags_.json != "-") {
    require_writable_file(flags_.json, "--json " + flags_.json);
  }
  if (!flags_.log.empty() && !log_) {
    naming("--log", [&] { log_.emplace(flags_.log, flags_.resume); });
    observe();
  }
}

void Session::begin_run(const std::string& name, Json fields, const std::string& measured_on) {
  fields["run"] = name;
  progress_->set_measured_on(measured_on);
  if (log_) log_->set_run(fields, measured_on);
  run_log_.emplace(path(name + ".log.jsonl"), flags_.resume);
  run_log_->set_run(std::move(fields), measured_on);
  observe();
}

void Session::log(const std::string& event, const Json& fields) {
  if (log_) log_->write(event, fields);
  if (run_log_) run_log_->write(event, fields);
}

void Session::report_problems(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) text() << "PROBLEM " << escaped(line) << "\n";
  if (!lines.empty()) json_["problems"] = lines;
}

void Session::finish() {
  if (flags_.json.empty()) return;
  const std::string content = json_text(json_, 2) + "\n";
  if (flags_.json == "-") {
    std::cout << content;
  } else {
    std::cout.flush();  // it may be the same file
    write_file(flags_.json, content);
  }
}

}  // namespace tessera::apps
