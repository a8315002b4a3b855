// Programs under test as processes.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tessera::testing {

// A program of this build: they lie in the same folder as the tests.
std::filesystem::path program(const std::string& name);

struct Result {
  int code = -1;  // exit code, or minus the signal that ended it
  std::string out, error;
  double cpu_seconds = 0;       // of user and system
  std::int64_t peak_bytes = 0;  // resident memory
};

struct ProcessOptions {
  bool ignores_interrupts = false;  // started as nohup and shells in the background do
  int terminal = -1;                // where stdout and stderr go instead of files
};

// A running process; killed when it goes out of scope. Its environment is this one's without
// TESSERA_DATA. stdout and stderr go to files in `folder`.
class Process {
 public:
  Process(const std::filesystem::path& program, const std::vector<std::string>& args,
          const std::filesystem::path& folder, const ProcessOptions& options = {});
  Process(const Process&) = delete;
  ~Process();

  int id() const { return id_; }
  void send(int signal);
  // Whether it wrote `text` to stdout or stderr within `seconds`, and still runs.
  bool says(const std::string& text, double seconds);
  // Whether it ended within `seconds`.
  bool wait(double seconds);
  Result wait();

 private:
  std::filesystem::path out_, error_;
  pid_t id_ = 0;
  int status_ = 0;
  rusage usage_ = {};
  bool ended_ = false;
};

// Everything a program writes to a terminal of so many columns.
std::string run_on_terminal(const std::filesystem::path& program,
                            const std::vector<std::string>& args,
                            const std::filesystem::path& folder, int columns);

Result run(const std::filesystem::path& program, const std::vector<std::string>& args,
           const std::filesystem::path& folder);

}  // namespace tessera::testing
