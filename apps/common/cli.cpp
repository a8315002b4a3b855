#include "apps/common/cli.h"

#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>

#include "core/error.h"
#include "core/interrupt.h"

namespace tessera::apps {

namespace {

// Messages may quote files of others: they stay on one line.
int report(const std::string& program, std::string_view message) {
  std::string line;
  for (const char c : message) line += c == '\n' || c == '\r' ? ' ' : c;
  std::cout.flush();
  std::cerr << program << ": error: " << line << std::endl;
  return kExitBadInput;
}

}  // namespace

int run_main(int argc, char** argv, const std::function<int(std::vector<std::string>)>& body) {
  const std::string program =
      argc > 0 ? std::filesystem::path(argv[0]).filename().string() : std::string("tessera");
  catch_interrupts();
  try {
    const int code = body(std::vector<std::string>(argv + (argc > 0), argv + argc));
    std::cout.flush();
    if (code == kExitDone && !std::cout) return report(program, "the output cannot be written");
    return code == kExitDone && interrupted() ? kExitInterrupted : code;
  } catch (const std::bad_alloc&) {
    return report(program, "out of memory");
  } catch (const std::exception& error) {
    if (interrupted()) return kExitInterrupted;
    return report(program, error.what());
  } catch (...) {
    return report(program, "unknown exception");
  }
}

}  // namespace tessera::apps
