// What is learned: which fields of a sample a network reads and is judged by, the loss, and the
// metrics. Training, evaluation and compression know a task by this alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/fields.h"
#include "nn/network.h"

namespace tessera::nn {

struct Metric {
  std::string name;  // "error"; also the key in logs and JSON
  double value = 0;
  std::string unit = "";  // "%"
  bool lower_is_better = true;
  int digits = 2;           // behind the point, for people
  std::string detail = {};  // "9787 of 10000 correct"; those with one are shown
  std::string label = {};   // for people; empty: the name
  bool count = false;       // a whole number of something

  double worst() const;  // infinity of that side
  std::string title() const { return label.empty() ? name : label; }
  std::string text() const { return text(value); }  // "2.13 %"
  std::string text(double other) const;             // another value of this metric
};

// What an evaluation found.
struct Evaluation {
  std::int64_t samples = 0;
  std::vector<Metric> metrics = {};  // the first is the main one

  // By name; "": the main one. Throws Error, naming what there is, for another name.
  const Metric& metric(std::string_view name = "") const;
  double value(std::string_view name = "") const { return metric(name).value; }
  double loss() const { return value("loss"); }
};

// Sees all predictions of an evaluation.
class Meter {
 public:
  virtual ~Meter() = default;
  // A batch: all fields of the task, and all outputs of the network (Task::measured). Throws Error,
  // naming `where` (the data set) and the sample, where they do not fit.
  virtual void add(const TensorMap& fields, const TensorMap& outputs, const std::string& where) = 0;
  // Over all batches until now. The first is the main one; one is "loss", the mean of the task's
  // loss over samples.
  virtual std::vector<Metric> metrics() const = 0;
};

// The fields of a batch as inputs of the graph that is being built: f32 x [batch, ...]. An input
// exists once somebody asks for it.
class FieldInputs {
 public:
  // `ranks` (nn/ranks.h) have rows of the joint batch each.
  FieldInputs(Graph& graph, std::vector<Field> fields, std::int64_t ranks = 1)
      : graph_(graph), fields_(std::move(fields)), ranks_(ranks) {}
  // Throws Error, naming the fields, for another name.
  Value operator()(const std::string& name) const;
  // Of a scalar f32 that depends on the batch's rows, such as how many tokens count: its mean over
  // the ranks. A loss that divides by it has the joint batch's loss as its mean over the ranks.
  Value joint_mean(Value of_rows) const;

 private:
  Graph& graph_;
  std::vector<Field> fields_;
  std::int64_t ranks_;
};

// One of the losses that a task consists of: a scalar, the mean over the batch.
struct NamedLoss {
  std::string name;  // "boxes"
  Value value;
};

class Task {
 public:
  virtual ~Task() = default;
  virtual std::string name() const = 0;  // "classification"
  // What the network reads, and what its outputs are compared with.
  virtual std::vector<Field> inputs() const = 0;
  virtual std::vector<Field> targets() const = 0;
  std::vector<Field> fields() const;  // both

  // What rates count: samples, or what a sample has several of ("tokens", 35).
  struct Unit {
    std::string name = "samples";
    std::int64_t count = 1;
  };
  virtual Unit unit() const { return {}; }
  // Of samples that are pieces of sequences: the same task with pieces of one step, as a network
  // runs that makes up what comes next. Null elsewhere.
  virtual std::shared_ptr<const Task> stepwise() const { return nullptr; }

  // Throws Error when a network's outputs [batch, ...] are not what the task compares.
  virtual void require_outputs(const Values& outputs) const = 0;
  // The mean over the batch, a scalar; over anything but its samples (tokens, objects) by
  // FieldInputs::joint_mean of their number. `label_smoothing`: the share of the target that goes
  // to all classes alike (Szegedy et al. 2016); measured is with 0. Throws Error for another one
  // where the task has no labels to smooth (plain_labels).
  virtual Value loss(const FieldInputs& fields, const Values& outputs,
                     double label_smoothing) const = 0;
  // What it is the sum of, for whoever weighs the parts (nn/loss_weighting.h). By default itself.
  virtual std::vector<NamedLoss> losses(const FieldInputs& fields, const Values& outputs,
                                        double label_smoothing) const;
  virtual std::unique_ptr<Meter> meter() const = 0;
  // What the meter sees in place of the network's outputs, where a few numbers a sample, made in
  // the graph, say as much as large outputs. By default the outputs.
  virtual Values measured(const FieldInputs& fields, const Values& outputs) const;

  // What distillation needs: the target in a form of which weighted means make sense (f32 [batch,
  // ..., k]; of a distribution rows of sum 1), the prediction likewise, and the mean loss of a
  // prediction against any such target. Which part of the outputs answers for what may depend on
  // the outputs. By default an Error: the task has no such form.
  virtual Value target(const FieldInputs& fields, const Values& outputs,
                       double label_smoothing) const;
  virtual Value prediction(const Values& outputs) const;
  virtual Value loss_to(const FieldInputs& fields, const Values& outputs, Value target) const;
  // Labels drawn from the network's prediction in place of a batch's targets: squared gradients of
  // the loss with them are the true Fisher information. `first` is the place of the batch's first
  // sample; the same seed, place and outputs give the same targets. By default an Error.
  virtual void draw_targets(const TensorMap& outputs, std::uint64_t seed, std::int64_t first,
                            TensorMap& fields, const std::string& where) const;

 protected:
  void plain_labels(double label_smoothing) const;  // throws Error unless it is 0
};

}  // namespace tessera::nn
