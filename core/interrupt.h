// Ctrl-C and kill. Training finishes its step and saves; other long work asks and is thrown out of;
// whatever does neither ends with the process a second later.
#pragma once

#include <exception>
#include <string>

namespace tessera {

// Thrown out of work that is interrupted and keeps nothing. It is no Error: who goes on after
// errors does not go on after this.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted"; }
};

// From now on the first SIGINT or SIGTERM sets a flag. The process has 0.8 seconds to end by
// itself, and ends then with interrupt_exit_code(), as soon as no file is being written. A second
// signal ends it at once. A signal that is ignored when this is called stays ignored, as nohup and
// shells want it for what runs in the background.
void catch_interrupts();

bool interrupted();
// Throws Interrupted when interrupted(): for loops that can be long and whose work is lost anyway.
void stop_if_interrupted();
// 128 + the signal: 130 for SIGINT, 143 for SIGTERM.
int interrupt_exit_code();
// For tests: as SIGINT sets the flag, or clears it.
void set_interrupted(bool value);

// What people are told on stderr when the process ends: how to go on. At most 1000 bytes of it.
void set_interrupt_note(const std::string& text);
std::string interrupt_note();  // "" where nothing was set

// A file is being written: the process does not end while one of these lives, unless by a second
// signal.
class WriteInProgress {
 public:
  WriteInProgress();
  ~WriteInProgress();
  WriteInProgress(const WriteInProgress&) = delete;
  WriteInProgress& operator=(const WriteInProgress&) = delete;
};

}  // namespace tessera
