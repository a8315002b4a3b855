#include "core/compile.h"

#include "core/environment.h"
#include "core/memory_rule.h"
#include "core/parallel.h"
#include "core/passes/passes.h"
#include "core/plan_builder.h"
#include "core/select.h"
#include "core/text.h"
#include "core/threads.h"
#include "core/verify.h"

namespace tessera {

namespace {

#ifdef NDEBUG
constexpr bool kDebug = false;
#else
constexpr bool kDebug = true;
#endif

// Flops and bytes of a run: what a thread does in about 10 ps each.
double work_of(const PlanData& plan) {
  double work = 0;
  for (const StepInfo& step : plan.info) {
    if (!step.prologue) work += step.flops + static_cast<double>(step.bytes);
  }
  return work;
}

// A run of less work than this, some 40 us, is on one thread: waking others costs several us a step
// where the machine is busy, and gains little where it is not.
constexpr double kSmallWork = 4e6;

// A bound from below, before kernels are chosen: values that are written once.
double least_work(const Graph& bound) {
  double bytes = 0;
  const std::vector<bool> live = live_nodes(bound);
  for (const Node& node : bound.nodes()) {
    if (!live[static_cast<std::size_t>(node.id())] || node.op().has(kLeaf)) continue;
    if (node.op().has(kView) || node.op().has(kStorage)) continue;
    for (const TensorType& type : node.types()) {
      bytes += static_cast<double>(type.shape.numel()) * static_cast<double>(size_of(type.dtype));
    }
  }
  return bytes;
}

std::shared_ptr<PlanData> build_for(const Graph& bound, const CompileOptions& options,
                                    int threads) {
  SelectOptions select{options.features.value_or(active_features()),
                       threads,
                       options.packed_only,
                       options.bf16,
                       options.int8,
                       options.communicator,
                       options.choice};
  Selection selection = select_kernels(bound, select);
  if (kDebug || environment_lists("TESSERA_CHECK", "verify"))
    verify(selection.graph, Level::selected, "select");
  dump_after("select", selection.graph);
  auto plan = std::make_shared<PlanData>(Graph(bound.ops()));
  // The graph moves into the plan: its nodes keep their addresses.
  plan->graph = std::move(selection.graph);
  plan->options = options;
  plan->options.threads = threads;
  plan->options.choice = nullptr;
  plan->options.check_nan = options.check_nan || environment_lists("TESSERA_CHECK", "nan");
  plan->decoded = std::move(selection.decoded);
  place_and_order(*plan, selection.kernels);
  return plan;
}

std::shared_ptr<PlanData> build(const Graph& graph, const CompileOptions& options) {
  check(options.threads >= 0 && options.threads <= kMaxThreads,
        "CompileOptions::threads must be 0 to ", kMaxThreads, ", got ", options.threads);
  PassContext passes;
  Graph bound = specialize(graph, options.batch);
  // Rules and passes know logical storage; layouts are what selection makes of it.
  for (const Node& node : bound.nodes()) {
    for (const TensorType& type : node.types())
      check(type.encoding.packed_layout().empty(), "[", node.op().name, "] ", type,
            " is packed for a kernel before kernels are chosen");
  }
  if (kDebug) verify(bound, Level::bound, "specialize");
  bound =
      run_passes(std::move(bound), passes, kDebug || environment_lists("TESSERA_CHECK", "verify"));
  const int most = options.threads > 0 ? options.threads : num_threads();
  std::shared_ptr<PlanData> plan;
  if (options.threads == 0 && most > 1 && least_work(bound) < kSmallWork) {
    plan = build_for(bound, options, 1);
    if (work_of(*plan) >= kSmallWork) plan = nullptr;
  }
  if (plan == nullptr) plan = build_for(bound, options, most);
  if (!graph.source().empty()) require_memory(*plan, graph.source());
  return plan;
}

}  // namespace

Plan compile(const Graph& graph, const CompileOptions& options) {
  return Plan(build(graph, options));
}

Plan compile(const Graph& graph, const State& state, const CompileOptions& options) {
  check(graph.updates().empty(),
        "a graph that updates state cannot be frozen; compile(graph) is for training");
  auto plan = build(graph, options);
  capture(*plan, state);
  return Plan(plan);
}

}  // namespace tessera
