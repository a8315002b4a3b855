// Signals: the flag, the process that does not ask for it, and what may not be cut off.
#include "core/interrupt.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

namespace tessera {
namespace {

using Clock = std::chrono::steady_clock;

void sleep_for(double seconds) {
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

struct Ended {
  int code = -1;  // or minus the signal
  double seconds = 0;
};

// `body` in a process of its own, which nothing but `body` prepares for signals.
Ended in_child(const std::function<void()>& body) {
  const auto start = Clock::now();
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int signal : {SIGINT, SIGTERM}) ::signal(signal, SIG_DFL);
    body();
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
          std::chrono::duration<double>(Clock::now() - start).count()};
}

TEST(Interrupt, SetsAFlagThatWorkAsksFor) {
  const Ended child = in_child([] {
    catch_interrupts();
    if (interrupted()) ::_exit(1);
    stop_if_interrupted();
    ::raise(SIGTERM);
    if (!interrupted() || interrupt_exit_code() != 143) ::_exit(2);
    try {
      stop_if_interrupted();
    } catch (const Interrupted&) {
      ::_exit(3);
    }
  });
  EXPECT_EQ(child.code, 3);
}

TEST(Interrupt, EndsWhatDoesNotAsk) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const Ended child = in_child([=] {
      catch_interrupts();
      ::raise(signal);
      sleep_for(20);
    });
    EXPECT_EQ(child.code, 128 + signal);
    EXPECT_GT(child.seconds, 0.7);  // time to save
    EXPECT_LT(child.seconds, 5);
  }
}

TEST(Interrupt, WaitsForAWrite) {
  const Ended child = in_child([] {
    catch_interrupts();
    {
      const WriteInProgress writing;
      ::raise(SIGTERM);
      sleep_for(1.5);
    }
    sleep_for(20);
  });
  EXPECT_EQ(child.code, 143);
  EXPECT_GT(child.seconds, 1.4);
  EXPECT_LT(child.seconds, 8);
}

TEST(Interrupt, TheSecondSignalEndsAtOnce) {
  const Ended child = in_child([] {
    catch_interrupts();
    const WriteInProgress writing;
    ::raise(SIGINT);
    ::raise(SIGINT);
    sleep_for(20);
  });
  EXPECT_EQ(child.code, -SIGINT);
}

TEST(Interrupt, WhatTheParentIgnoredStaysIgnored) {
  const Ended child = in_child([] {
    ::signal(SIGINT, SIG_IGN);
    catch_interrupts();
    ::raise(SIGINT);
    if (interrupted()) ::_exit(1);
    ::raise(SIGTERM);
    ::_exit(interrupt_exit_code());
  });
  EXPECT_EQ(child.code, 143);
}

TEST(Interrupt, TheNoteIsToldByTheProcessThatIsEnded) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Ended child = in_child([&] {
    ::dup2(ends[1], STDERR_FILENO);
    catch_interrupts();
    set_interrupt_note("a much longer note than the next");
    set_interrupt_note("go on with --resume\n");
    ::raise(SIGINT);
    sleep_for(20);
  });
  EXPECT_EQ(child.code, 130);
  char text[100];
  const ssize_t bytes = ::read(ends[0], text, sizeof(text));
  EXPECT_EQ(std::string(text, static_cast<std::size_t>(std::max<ssize_t>(bytes, 0))),
            "go on with --resume\n");
  ::close(ends[0]);
  ::close(ends[1]);
  const std::string before = interrupt_note();
  set_interrupt_note(std::string(5000, 'x'));
  EXPECT_EQ(interrupt_note(), std::string(1000, 'x'));
  set_interrupt_note(before);
}

}  // namespace
}  // namespace tessera
