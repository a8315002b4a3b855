// What a Plan holds. Internal to core: compile.cpp and plan_builder.cpp build it, run.cpp executes
// it.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/compile.h"
#include "core/op_def.h"

namespace tessera {

struct Buffer {
  enum class Kind { arena, persistent, state, input, output, constant };
  Kind kind = Kind::arena;
  std::int64_t bytes = 0;
  std::int64_t offset = 0;  // arena
  std::string name;         // state, input, output
  TensorType type;          // of the value it holds (constant, input, output, state)
  double fill = 0;          // constant
};

struct StepBuffers {
  std::vector<std::array<int, 3>> inputs, outputs;  // buffer ids by plane, -1 for none
};

struct Step {
  KernelFn run;
  StepBuffers buffers;
  const Node* node = nullptr;
  int threads = 1;
  // Buffers of an output and of an operand that it may be written over (KernelPlan::in_place).
  std::vector<std::pair<int, int>> over = {};
  std::vector<std::pair<std::int64_t, std::int64_t>> dies = {};  // arena ranges dead afterwards
};

struct Copy {
  int from = 0, to = 0;
  std::int64_t bytes = 0;
};

struct PlanData {
  explicit PlanData(Graph g) : graph(std::move(g)) {}

  Graph graph;             // with kernels chosen
  CompileOptions options;  // threads: those a run uses
  std::vector<StepInfo> info;
  std::vector<Step> steps;  // prologue first
  std::size_t prologue_steps = 0;
  std::vector<Buffer> buffers;
  std::map<std::string, int, std::less<>> inputs, outputs, states;
  std::map<std::string, TensorType> carried;  // inputs whose next value is an output
  std::set<std::string> updated;              // states that run() changes
  std::set<std::string> prologue_reads;       // states the prologue depends on
  std::vector<Copy> before, after;            // leaf outputs; double-buffered updates
  std::vector<std::string> decoded;
  std::int64_t scratch_bytes = 0, prologue_scratch_bytes = 0;
  bool updates_last = true;
  PlanMemory memory;
  // Frozen plans: the memory behind persistent and state buffers, by buffer id.
  bool frozen = false;
  std::map<int, Tensor> captured;
};

// Places arena buffers: lifetimes are [first, last] step numbers; no two that overlap share bytes.
// Returns the arena's size.
struct Lifetime {
  int buffer = 0, first = 0, last = 0;
};
std::int64_t plan_arena(std::vector<Buffer>& buffers, const std::vector<Lifetime>& lifetimes);

// Freezes a plan: runs its prologue on the state's values and keeps only what other steps read.
void capture(PlanData& plan, const State& state);

}  // namespace tessera
