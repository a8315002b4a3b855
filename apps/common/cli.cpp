#include "apps/common/cli.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>

#include "core/environment.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "core/version.h"

namespace tessera::apps {

namespace {

// Messages may quote files of others: they stay on one line.
int report(const std::string& program, std::string_view message) {
  std::cout.flush();
  std::cerr << program << ": error: " << escaped(message) << std::endl;
  return kExitBadInput;
}

// OpenMP threads that wait at a barrier spin for milliseconds by default. On a machine with other
// work a third busy process then makes every barrier wait for the scheduler: measured, steps of
// 0.7 ms become 40 ms. Some microseconds of spinning cost nothing measurable on an idle machine and
// leave 1.8 ms on a busy one. The OpenMP runtime reads the setting before main, hence the second
// start.
void limit_spinning([[maybe_unused]] char** argv) {
#ifndef TESSERA_STD_THREADS
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "1000", 1);
  release_interrupts();
  stop_if_interrupted();
  execv("/proc/self/exe", argv);  // on failure we simply go on
  catch_interrupts();
#endif
}

// Says how to go on.
int end_interrupted(const std::string& program) {
  std::cout.flush();
  const std::string note = interrupt_note();
  std::cerr << (note.empty() ? program + ": interrupted\n" : note) << std::flush;
  return interrupt_exit_code();
}

}  // namespace

int run_main(int argc, char** argv, const std::function<int(std::vector<std::string>)>& body) {
  const std::string program =
      argc > 0 ? std::filesystem::path(argv[0]).filename().string() : std::string("tessera");
  if (argc == 2 && std::string_view(argv[1]) == "--version") {
    std::cout << program << " " << version() << std::endl;
    return std::cout ? kExitDone : report(program, "the output cannot be written");
  }
  catch_interrupts();
  try {
    if (argc > 0) limit_spinning(argv);
    check_environment();
    const int code = body(std::vector<std::string>(argv + (argc > 0), argv + argc));
    std::cout.flush();
    if (code == kExitDone && !std::cout) return report(program, "the output cannot be written");
    return code == kExitDone && interrupted() ? end_interrupted(program) : code;
  } catch (const Interrupted&) {
    return end_interrupted(program);
  } catch (const std::bad_alloc&) {
    return report(program, "out of memory");
  } catch (const std::filesystem::filesystem_error& error) {
    return report(program,
                  cat("cannot use ", error.path1().string(), ": ", error.code().message()));
  } catch (const std::exception& error) {
    return report(program, error.what());
  } catch (...) {
    return report(program, "unknown exception");
  }
}

}  // namespace tessera::apps
