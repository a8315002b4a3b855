// The training loop around a Trainer: epochs, hooks between them, checkpoints, resume, Ctrl-C.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/files/checkpoint.h"
#include "nn/trainer.h"

namespace tessera::nn {

// Hears of everything a loop does; progress bars and logs are observers.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_begin(const std::string& /*phase*/, std::int64_t /*epochs*/,
                        const Position& /*from*/) {}
  virtual void on_step(const StepReport&) {}
  virtual void on_epoch(std::int64_t /*epoch*/, const EpochReport&, const Evaluation* /*test*/) {}
  // Anything else worth a line: an event's name and its fields, already as text or numbers.
  // "validation": what early stopping saw; "c_step": see quant::compress.
  virtual void on_event(const std::string& /*event*/,
                        const std::vector<std::pair<std::string, std::string>>& /*fields*/) {}
  virtual void on_end() {}
};

// Passes everything on to several.
class Observers final : public Observer {
 public:
  void add(Observer* observer) {
    if (observer) list_.push_back(observer);
  }
  void on_begin(const std::string& phase, std::int64_t epochs, const Position& from) override {
    for (auto* o : list_) o->on_begin(phase, epochs, from);
  }
  void on_step(const StepReport& r) override {
    for (auto* o : list_) o->on_step(r);
  }
  void on_epoch(std::int64_t epoch, const EpochReport& r, const Evaluation* test) override {
    for (auto* o : list_) o->on_epoch(epoch, r, test);
  }
  void on_event(const std::string& event,
                const std::vector<std::pair<std::string, std::string>>& fields) override {
    for (auto* o : list_) o->on_event(event, fields);
  }
  void on_end() override {
    for (auto* o : list_) o->on_end();
  }

 private:
  std::vector<Observer*> list_;
};

// Training ends when a metric on samples that it does not see has not become better for a while,
// and the weights are then those of the best epoch, as they are when all epochs were run.
struct EarlyStopping {
  const BatchSource* validation = nullptr;  // null: no early stopping
  std::string metric = {};                  // of the task, by name ("loss"); empty: its main one
  std::int64_t patience = 5;                // evaluations without a better one; at least 1
  std::int64_t every = 1;                   // epochs between evaluations
  // Factor on the learning rate after every evaluation that was no better than the best before:
  // below 1, the rate falls where the metric has reached a plateau.
  double plateau = 1;
};

struct FitOptions {
  std::string phase = "train";  // for messages, and part of what a resume must agree with
  std::int64_t epochs = 20;
  std::function<double(double)> lr = nullptr;  // must be given
  // Before an epoch's first update (a whole number), or where a resume enters it.
  std::function<void(double epoch)> before_epoch = nullptr;
  // After every update, which took training from one fractional epoch to the other; the last update
  // of an epoch ends at a whole number.
  std::function<void(double from, double to)> after_update = nullptr;
  const BatchSource* test = nullptr;  // evaluated every `test_every` epochs when given
  std::int64_t test_every = 1;
  EarlyStopping early_stopping = {};
  std::filesystem::path checkpoint = {};  // none when empty
  double checkpoint_seconds = 20;         // at most this much work is lost
  bool resume = false;                    // go on from the checkpoint when there is one
  std::optional<Position> from = {};      // start here instead, with the trainer's state as it is
  Config config = {};                     // a resume under another configuration is refused
  Observer* observer = nullptr;
};

struct FitResult {
  bool finished = false;  // false: interrupted, and checkpointed when a path was given
  Position position;
  double loss = 0;  // of the last finished epoch
  // With early stopping: the epoch whose weights the trainer has (from 0), what the metric was
  // then, and whether training ended before its last epoch.
  std::int64_t best_epoch = -1;
  double best = 0;
  bool stopped_early = false;
};

// Whether a resume would find a checkpoint; checks that its configuration agrees (throws Error that
// says what changed), and loads its state into the trainer.
bool resume_from(Trainer& trainer, const FitOptions& options, Position& position);

FitResult fit(Trainer& trainer, const BatchSource& data, const FitOptions& options);

}  // namespace tessera::nn
