#include "apps/cli/self.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/interrupt.h"

extern char** environ;

namespace tessera::apps {

namespace {

constexpr int kLookMilliseconds = 50;  // between looks for signals

}  // namespace

Finished run_self(const std::vector<std::string>& args) {
  constexpr const char* kSelf = "/proc/self/exe";
  char path[4096];
  const ssize_t length = ::readlink(kSelf, path, sizeof(path) - 1);
  check(length > 0, "cannot find this program's own file: ", std::strerror(errno));
  path[length] = '\0';

  int ends[2];
  check(::pipe(ends) == 0, "cannot create a pipe: ", std::strerror(errno));
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addclose(&actions, ends[0]);
  ::posix_spawn_file_actions_addclose(&actions, ends[1]);
  std::vector<char*> argv{path};
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  pid_t child = 0;
  const int error = ::posix_spawn(&child, path, &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (error != 0) {
    ::close(ends[0]);
    fail("cannot start ", path, ": ", std::strerror(error));
  }
  Finished out;
  char buffer[4096];
  bool told = false;
  while (true) {
    // Who sends a signal to this process means its child, too.
    if (interrupted() && !told) told = ::kill(child, SIGTERM) == 0;
    pollfd ready{ends[0], POLLIN, 0};
    if (::poll(&ready, 1, kLookMilliseconds) <= 0) continue;
    const ssize_t n = ::read(ends[0], buffer, sizeof(buffer));
    if (n > 0) out.output.append(buffer, static_cast<std::size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR)) break;
  }
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  stop_if_interrupted();
  out.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return out;
}

}  // namespace tessera::apps
