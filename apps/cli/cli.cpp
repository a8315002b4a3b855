#include "apps/cli/cli.h"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>

#include "apps/cli/ranks.h"
#include "core/environment.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "core/version.h"

namespace tessera::apps {

namespace {

// Messages may quote files of others: they stay on one line. Rank 0 says what another one met.
int report(const std::string& program, std::string_view message) {
  if (world() != nullptr) world()->give_up(std::string(message));
  std::cout.flush();
  std::cerr << program << ": error: " << escaped(message) << std::endl;
  return kExitBadInput;
}

// Says how to go on.
int end_interrupted(const std::string& program) {
  std::cout.flush();
  const std::string note = interrupt_note();
  std::cerr << (note.empty() ? program + ": interrupted\n" : note) << std::flush;
  return interrupt_exit_code();
}

// Another rank is gone, or has given up: what there is has been saved.
int report_lost(const std::string& program, std::string_view message) {
  std::cout.flush();
  std::cerr << program << ": error: " << escaped(message) << "\n" << interrupt_note() << std::flush;
  return kExitBadInput;
}

int run_body(int argc, char** argv, const std::string& program,
             const std::function<int(std::vector<std::string>)>& body) {
  try {
    check_environment();
    join_world(argc, argv);
    const int code = body(std::vector<std::string>(argv + (argc > 0), argv + argc));
    std::cout.flush();
    if (code == kExitDone && !std::cout) return report(program, "the output cannot be written");
    return code == kExitDone && interrupted() ? end_interrupted(program) : code;
  } catch (const Interrupted&) {
    return end_interrupted(program);
  } catch (const CommunicationError& error) {
    return report_lost(program, error.what());
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

}  // namespace

int run_main(int argc, char** argv, const std::function<int(std::vector<std::string>)>& body) {
  const std::string program =
      argc > 0 ? std::filesystem::path(argv[0]).filename().string() : std::string("tessera");
  if (argc == 2 && std::string_view(argv[1]) == "--version") {
    std::cout << program << " " << version() << std::endl;
    return std::cout ? kExitDone : report(program, "the output cannot be written");
  }
  catch_interrupts();
  const int code = run_body(argc, argv, program, body);
  leave_world(code);
  return code;
}

}  // namespace tessera::apps
