#include "tests/apps/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/files/atomic_file.h"

namespace tessera::testing {

std::filesystem::path program(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

Process::Process(const std::filesystem::path& program, const std::vector<std::string>& args,
                 const std::filesystem::path& folder, const ProcessOptions& options)
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
  // The tests themselves may have been started in the background.
  ::signal(SIGINT, options.ignores_interrupts ? SIG_IGN : SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  for (const auto& [file, descriptor] : {std::pair(out_, STDOUT_FILENO), {error_, STDERR_FILENO}}) {
    ::dup2(options.terminal >= 0 ? options.terminal
                                 : ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644),
           descriptor);
  }
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

bool Process::says(const std::string& text, double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    for (const auto& file : {out_, error_}) {
      if (std::filesystem::exists(file) && read_file(file).find(text) != std::string::npos)
        return !wait(0);
    }
    if (wait(0.005)) return false;
  }
  return false;
}

bool Process::wait(double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!ended_) {
    ended_ = ::wait4(id_, &status_, WNOHANG, &usage_) == id_;
    if (ended_ || std::chrono::steady_clock::now() >= end) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return ended_;
}

Result Process::wait() {
  if (!ended_) ended_ = ::wait4(id_, &status_, 0, &usage_) == id_;
  Result result;
  result.code = WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  result.cpu_seconds = seconds(usage_.ru_utime) + seconds(usage_.ru_stime);
  result.peak_bytes = std::int64_t{usage_.ru_maxrss} << 10;
  for (const auto& [file, text] : {std::pair(out_, &result.out), {error_, &result.error}}) {
    if (std::filesystem::exists(file)) *text = read_file(file);
  }
  return result;
}

std::string run_on_terminal(const std::filesystem::path& program,
                            const std::vector<std::string>& args,
                            const std::filesystem::path& folder, int columns) {
  const int ours = ::posix_openpt(O_RDWR | O_NOCTTY);
  check(ours >= 0 && ::grantpt(ours) == 0 && ::unlockpt(ours) == 0, "no terminal");
  const int theirs = ::open(::ptsname(ours), O_RDWR | O_NOCTTY);
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  size.ws_row = 24;
  ::ioctl(theirs, TIOCSWINSZ, &size);
  std::string out;
  {
    Process process(program, args, folder, {.terminal = theirs});
    ::close(theirs);
    char buffer[4096];
    // It fails when the last writer has closed its end.
    for (ssize_t n = 0; (n = ::read(ours, buffer, sizeof(buffer))) > 0;)
      out.append(buffer, static_cast<std::size_t>(n));
    process.wait(60);
  }
  ::close(ours);
  return out;
}

Result run(const std::filesystem::path& program, const std::vector<std::string>& args,
           const std::filesystem::path& folder) {
  return Process(program, args, folder).wait();
}

}  // namespace tessera::testing
