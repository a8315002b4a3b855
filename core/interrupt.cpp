#include "core/interrupt.h"

#include <csignal>

#include <atomic>

namespace tessera {

namespace {

std::atomic<bool> flag{false};

void on_signal(int signal) {
  if (flag.exchange(true)) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

}  // namespace

void catch_interrupts() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

bool interrupted() {
  return flag;
}
void set_interrupted(bool value) {
  flag = value;
}

}  // namespace tessera
