#include "tests/apps/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "core/error.h"
#include "core/files/atomic_file.h"

namespace tessera::testing {

std::filesystem::path program(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

Process::Process(const std::filesystem::path& program, const std::vector<std::string>& args,
                 const std::filesystem::path& folder)
    : out_(folder / "stdout"), error_(folder / "stderr") {
  std::vector<std::string> texts{program.string()};
  texts.insert(texts.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& text : texts) argv.push_back(text.data());
  argv.push_back(nullptr);
  id_ = ::fork();
  check(id_ >= 0, "cannot fork");
  if (id_ > 0) return;
  ::unsetenv("TESSERA_DATA");
  ::dup2(::open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
  ::dup2(::open(error_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

Process::~Process() {
  if (ended_) return;
  send(SIGKILL);
  wait();
}

void Process::send(int signal) {
  if (!ended_) ::kill(id_, signal);
}

bool Process::wait(double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!ended_) {
    ended_ = ::waitpid(id_, &status_, WNOHANG) == id_;
    if (ended_ || std::chrono::steady_clock::now() >= end) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return ended_;
}

Result Process::wait() {
  if (!ended_) ended_ = ::waitpid(id_, &status_, 0) == id_;
  Result result;
  result.code = WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_);
  result.out = read_file(out_);
  result.error = read_file(error_);
  return result;
}

Result run(const std::filesystem::path& program, const std::vector<std::string>& args,
           const std::filesystem::path& folder) {
  return Process(program, args, folder).wait();
}

}  // namespace tessera::testing
