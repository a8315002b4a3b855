// compile(graph) -> Plan: a flat list of prepared steps over one arena. A plan is immutable and may
// be shared by threads; each thread runs its own RunContext. Running allocates nothing and looks
// nothing up.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/cpu.h"
#include "core/graph.h"
#include "core/state.h"
#include "core/tensor.h"

namespace tessera {

class Communicator;
class RowChoice;

struct CompileOptions {
  std::int64_t batch = 1;  // binds the batch symbol
  // Of every part of a run. 0: num_threads(), or one where the work of a run is too small to gain
  // from more (Plan::threads).
  int threads = 0;
  std::optional<CpuFeatures> features = {};  // default: active_features()
  bool packed_only = false;  // a whole-tensor decode of codebook storage is an error
  // Convolutions round their operands to bf16 where the machine multiplies it (AVX512-BF16) and sum
  // in f32; weights, activations, statistics and losses stay f32. No effect on other machines.
  bool bf16 = false;
  // Products, convolutions and scans with codebook weights that do not change round operands to
  // bytes (rows or images of activations as they come, entries) and sum exactly, in integers
  // (ops/codebook/int8_matmul.h, ops/conv/int8_conv.h). The same bits on every machine.
  bool int8 = false;
  bool check_nan = false;  // also TESSERA_CHECK=nan: stop at the first node that makes one
  // The ranks that nodes with the trait kCommunicates talk to; it outlives the plan's contexts,
  // which run in one thread. Null: this process is alone.
  Communicator* communicator = nullptr;
  // Asked which of the kernels that serve a node computes it (core/select.h; timing/tuning.h
  // measures); not used after compile() returns. Null: the first, which rules put there.
  RowChoice* choice = nullptr;
};

struct StepInfo {
  std::string name;  // of the node, "" when it has none
  // The parameter or other state behind an operand that may be codebook storage, by the name of the
  // tensor it stands for; "": the step reads none.
  std::string weight;
  std::string op;
  std::string kernel;  // the row chosen
  std::string type;    // of output 0
  std::string note;
  double flops = 0;
  std::int64_t bytes = 0;  // read and written, each operand once
  bool prologue = false;   // runs once, or again when a state it reads has changed
  std::vector<std::string> refusals;
};

struct PlanMemory {
  std::int64_t arena = 0;       // activations and gradients, per context
  std::int64_t scratch = 0;     // per context
  std::int64_t persistent = 0;  // results of the prologue: packed weights
  std::int64_t states = 0;      // parameters and other state the steps read, as stored
};

class RunContext;
struct PlanData;

class Plan {
 public:
  explicit Plan(std::shared_ptr<const PlanData> data) : data_(std::move(data)) {}

  // A context of a live plan works on `state`, which must hold every param and state of the graph
  // with its type (Error names what is missing) and outlive the context.
  RunContext context(State& state) const;
  // A context of a frozen plan. Any number may run at the same time.
  RunContext context() const;
  // One run of a frozen plan: inputs by name to outputs by name.
  std::map<std::string, Tensor> run(const std::map<std::string, Tensor>& inputs) const;

  bool has_input(std::string_view name) const;
  bool has_output(std::string_view name) const;
  // Inputs that runs carry on by themselves: those whose next value is an output (carried_inputs).
  const std::map<std::string, TensorType>& carried() const;
  const std::vector<StepInfo>& steps() const;
  const PlanMemory& memory() const;
  int threads() const;  // that a run uses at most
  // Whether a run changes states only after all it has to say to other ranks has been said: one
  // that fails in between leaves them as they were.
  bool updates_last() const;
  const std::vector<std::string>& decoded() const;  // whole-tensor decodes, one line each
  std::string text() const;                         // table of the steps
  const PlanData& data() const { return *data_; }

 private:
  std::shared_ptr<const PlanData> data_;
};

class RunContext {
 public:
  RunContext(RunContext&&) noexcept;
  RunContext& operator=(RunContext&&) noexcept;
  ~RunContext();

  // Uses the tensor's own elements as the input (no copy; it must not change during run()).
  void bind(std::string_view input, const Tensor& tensor);
  void set(std::string_view input, float value);  // scalar f32 input
  // A carried input (Plan::carried) that is not bound starts at zeros, and is after every run what
  // the run gave as its next value. restart() sets all such inputs to zeros; carry() makes
  // one use the tensor's own elements, which change with every run.
  void restart();
  void carry(std::string_view input, const Tensor& tensor);
  // Runs all steps. Throws Error when an input was never bound, or a step finds bad data; states
  // may then hold part of the step's updates.
  void run();
  // The result of the last run; overwritten by the next.
  const Tensor& output(std::string_view name) const;

  // Runs once and returns seconds per step (same order as Plan::steps; prologue steps that did not
  // run are 0). chrome_trace() gives the same run as a chrome://tracing JSON text.
  std::vector<double> profile();
  static std::string chrome_trace(const Plan& plan, const std::vector<double>& seconds);

 private:
  friend class Plan;
  friend void capture(PlanData& plan, const State& state);
  struct Data;
  explicit RunContext(std::unique_ptr<Data> data);
  std::unique_ptr<Data> data_;
};

// A live plan: reads and updates the State its contexts are given.
Plan compile(const Graph& graph, const CompileOptions& options = {});

// A frozen plan for inference: captures the state's values once, keeps only what its steps read
// (packed planes instead of logical ones). Throws Error when the graph updates state.
Plan compile(const Graph& graph, const State& state, const CompileOptions& options);

}  // namespace tessera
