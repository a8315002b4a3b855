#include "core/interrupt.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

namespace tessera {

namespace {

constexpr long kGraceMilliseconds = 800, kAgainMilliseconds = 20;
constexpr std::array kSignals = {SIGINT, SIGTERM};

// Handlers read and write these, so they must be free of locks.
std::atomic<int> first_signal{0}, writes{0};
static_assert(std::atomic<int>::is_always_lock_free);
std::array<char, 1001> note{};  // with a zero behind it
std::atomic<int> note_bytes{0};
timer_t timer{};
bool has_timer = false;

void wake_after(long milliseconds) {
  itimerspec when{};
  when.it_value.tv_sec = milliseconds / 1000;
  when.it_value.tv_nsec = milliseconds % 1000 * 1'000'000;
  ::timer_settime(timer, 0, &when, nullptr);
}

void on_signal(int signal) {
  int none = 0;
  if (first_signal.compare_exchange_strong(none, signal)) {
    if (has_timer) wake_after(kGraceMilliseconds);
    return;
  }
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void on_timer(int) {
  if (first_signal == 0) return;  // somebody else's alarm
  if (writes > 0) {
    wake_after(kAgainMilliseconds);
    return;
  }
  [[maybe_unused]] const auto told =
      ::write(STDERR_FILENO, note.data(), static_cast<std::size_t>(note_bytes.load()));
  ::_exit(interrupt_exit_code());
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

bool ignored(int signal) {
  struct sigaction now {};
  return ::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace

void catch_interrupts() {
  if (!has_timer) {
    handle(SIGALRM, on_timer);
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    ::pthread_sigmask(SIG_UNBLOCK, &alarm, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGALRM;
    has_timer = ::timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
  }
  for (const int signal : kSignals) {
    if (!ignored(signal)) handle(signal, on_signal);
  }
}

bool interrupted() {
  return first_signal != 0;
}

void stop_if_interrupted() {
  if (interrupted()) throw Interrupted();
}

int interrupt_exit_code() {
  return 128 + (first_signal == 0 ? SIGINT : first_signal.load());
}

void set_interrupted(bool value) {
  first_signal = value ? SIGINT : 0;
}

void set_interrupt_note(const std::string& text) {
  note_bytes = 0;  // a signal that comes now tells nothing rather than half
  const std::size_t bytes = std::min(text.size(), note.size() - 1);
  std::memcpy(note.data(), text.data(), bytes);
  note_bytes = static_cast<int>(bytes);
}

std::string interrupt_note() {
  return {note.data(), static_cast<std::size_t>(note_bytes.load())};
}

WriteInProgress::WriteInProgress() {
  ++writes;
}
WriteInProgress::~WriteInProgress() {
  --writes;
}

}  // namespace tessera
