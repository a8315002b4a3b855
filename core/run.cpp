#include <chrono>
#include <cmath>
#include <cstring>
#include <iomanip>

#include "core/communicator.h"
#include "core/environment.h"
#include "core/plan_data.h"
#include "core/text.h"
#include "core/threads.h"

namespace tessera {

namespace {

constexpr int kPoison = 0xff;  // a NaN in f32 and bf16

std::byte* offset(const std::shared_ptr<std::byte[]>& memory, std::int64_t bytes) {
  return memory ? memory.get() + bytes : nullptr;
}

Tensor checked_state(const PlanData& plan, const State& state, const std::string& name) {
  const Buffer& buffer = plan.buffers[static_cast<std::size_t>(plan.states.at(name))];
  check(state.has(name), "the state has no ", Quoted{name}, ", which the plan needs as ",
        buffer.type.text());
  const Tensor& tensor = state.get(name);
  check(tensor.dtype() == buffer.type.dtype && tensor.shape() == buffer.type.shape, "state ",
        Quoted{name}, " is ", tensor.text_type(), ", the plan needs ", buffer.type.text());
  return tensor;
}

}  // namespace

struct RunContext::Data {
  std::shared_ptr<const PlanData> plan;
  State* state = nullptr;
  std::shared_ptr<std::byte[]> arena, scratch;
  std::vector<std::byte*> base;   // by buffer id
  std::map<int, Tensor> tensors;  // bound inputs, outputs, constants, persistent buffers
  std::map<std::string, Tensor, std::less<>> scalars;      // what set() was given
  std::vector<std::vector<BufferRef>> inputs, outputs;     // by step
  std::map<std::string, std::uint64_t, std::less<>> seen;  // versions the prologue ran with
  std::map<int, int> carried;  // input to output: of those that are not bound
  bool prologue_done = false;
  bool resolved = false;
  bool poison = false;
  std::vector<double>* seconds = nullptr;

  void allocate_buffers();
  void allocate_prologue();
  void fill_constant(int buffer);
  void attach_state();
  void attach_carried();
  void resolve();
  void run_step(std::size_t s);
  void check_nan(const Step& step, std::size_t s) const;
  bool prologue_stale() const;
  void copy(const Copy& c) const {
    std::memcpy(base[static_cast<std::size_t>(c.to)], base[static_cast<std::size_t>(c.from)],
                static_cast<std::size_t>(c.bytes));
  }
};

void RunContext::Data::allocate_buffers() {
  if (plan->memory.arena) arena = allocate(plan->memory.arena);
  if (plan->scratch_bytes) scratch = allocate(plan->scratch_bytes);
  base.assign(plan->buffers.size(), nullptr);
  for (std::size_t b = 0; b < base.size(); ++b) {
    const Buffer& buffer = plan->buffers[b];
    const int id = static_cast<int>(b);
    switch (buffer.kind) {
      case Buffer::Kind::arena:
        base[b] = offset(arena, buffer.offset);
        continue;
      case Buffer::Kind::output:
        tensors.emplace(id, Tensor(buffer.type.dtype, buffer.type.shape));
        break;
      case Buffer::Kind::constant:
        fill_constant(id);
        break;
      case Buffer::Kind::persistent:
      case Buffer::Kind::state:
        if (plan->frozen) {
          if (const auto found = plan->captured.find(id); found != plan->captured.end()) {
            tensors.emplace(id, found->second);
          }
        } else if (buffer.kind == Buffer::Kind::persistent) {
          tensors.emplace(id, Tensor(DType::u8, Shape{buffer.bytes}));
        }
        break;
      case Buffer::Kind::input:
        break;
    }
    if (const auto found = tensors.find(id); found != tensors.end()) base[b] = found->second.data();
  }
  poison = environment_lists("TESSERA_CHECK", "poison");
#ifndef NDEBUG
  poison = true;
#endif
}

void RunContext::Data::fill_constant(int id) {
  const Buffer& buffer = plan->buffers[static_cast<std::size_t>(id)];
  Tensor fill(buffer.type.dtype, buffer.type.shape);
  for (std::int64_t i = 0; i < fill.numel(); ++i) set_element(fill, i, buffer.fill);
  tensors.emplace(id, fill);
}

// What the prologue of a frozen plan reads and writes; the rest of a run's memory is not needed.
void RunContext::Data::allocate_prologue() {
  if (plan->prologue_scratch_bytes) scratch = allocate(plan->prologue_scratch_bytes);
  base.assign(plan->buffers.size(), nullptr);
  for (std::size_t s = 0; s < plan->prologue_steps; ++s) {
    for (const auto& planes : plan->steps[s].buffers.inputs) {
      for (const int b : planes) {
        if (b < 0 || tensors.contains(b)) continue;
        if (plan->buffers[static_cast<std::size_t>(b)].kind == Buffer::Kind::constant)
          fill_constant(b);
      }
    }
  }
  tensors.insert(plan->captured.begin(), plan->captured.end());
  for (auto& [b, tensor] : tensors) base[static_cast<std::size_t>(b)] = tensor.data();
}

void RunContext::Data::attach_state() {
  for (const auto& [name, b] : plan->states) {
    Tensor tensor = checked_state(*plan, *state, name);
    base[static_cast<std::size_t>(b)] = tensor.data();
    tensors[b] = std::move(tensor);
  }
}

void RunContext::Data::attach_carried() {
  for (const auto& [name, type] : plan->carried)
    carried.emplace(plan->inputs.find(name)->second, plan->outputs.find(next_name(name))->second);
}

void RunContext::Data::resolve() {
  for (const auto& [in, out] : carried) {
    std::byte*& at = base[static_cast<std::size_t>(in)];
    if (at != nullptr) continue;
    const TensorType& type = plan->buffers[static_cast<std::size_t>(in)].type;
    at = tensors.insert_or_assign(in, Tensor(type.dtype, type.shape)).first->second.data();
  }
  for (const auto& [name, b] : plan->inputs) {
    check(base[static_cast<std::size_t>(b)] != nullptr, "input ", Quoted{name}, " of type ",
          plan->buffers[static_cast<std::size_t>(b)].type.text(), " was not given");
  }
  const auto refs = [&](const std::vector<std::array<int, 3>>& ids) {
    std::vector<BufferRef> out(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      for (std::size_t p = 0; p < 3; ++p) {
        if (ids[i][p] >= 0) out[i].plane[p] = base[static_cast<std::size_t>(ids[i][p])];
      }
    }
    return out;
  };
  inputs.resize(plan->steps.size());
  outputs.resize(plan->steps.size());
  for (std::size_t s = 0; s < plan->steps.size(); ++s) {
    inputs[s] = refs(plan->steps[s].buffers.inputs);
    outputs[s] = refs(plan->steps[s].buffers.outputs);
  }
  resolved = true;
}

void RunContext::Data::check_nan(const Step& step, std::size_t s) const {
  const Node& node = *step.node;
  for (std::size_t o = 0; o < node.types().size(); ++o) {
    const TensorType& type = node.types()[o];
    if (type.dtype != DType::f32 || !type.encoding.is_dense()) continue;
    const auto* values = outputs[s][o].as<float>();
    for (std::int64_t i = 0, n = type.shape.numel(); i < n; ++i) {
      check(!std::isnan(values[i]), "first NaN: output ", o, " of ", node.op().name, " ",
            Quoted{node.name()}, " (%", node.id(), ", ", type.text(), ", kernel ",
            plan->info[s].kernel, "), element ", i);
    }
  }
}

void RunContext::Data::run_step(std::size_t s) {
  const Step& step = plan->steps[s];
  const auto start = std::chrono::steady_clock::now();
  if (step.threads == plan->options.threads) {
    step.run({inputs[s], outputs[s], scratch.get()});
  } else {
    const ThreadScope scope(step.threads);
    step.run({inputs[s], outputs[s], scratch.get()});
  }
  if (seconds) {
    (*seconds)[s] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  if (plan->options.check_nan) check_nan(step, s);
  if (poison) {
    for (const auto& [begin, bytes] : step.dies) {
      std::memset(arena.get() + begin, kPoison, static_cast<std::size_t>(bytes));
    }
  }
}

bool RunContext::Data::prologue_stale() const {
  if (!prologue_done) return true;
  if (plan->frozen) return false;
  for (const auto& [name, version] : seen) {
    if (state->version(name) != version) return true;
  }
  return false;
}

RunContext::RunContext(std::unique_ptr<Data> data) : data_(std::move(data)) {}
RunContext::RunContext(RunContext&&) noexcept = default;
RunContext& RunContext::operator=(RunContext&&) noexcept = default;
RunContext::~RunContext() = default;

void RunContext::bind(std::string_view input, const Tensor& tensor) {
  const auto found = data_->plan->inputs.find(input);
  if (found == data_->plan->inputs.end()) {
    std::string known;
    for (const auto& [name, b] : data_->plan->inputs)
      known += (known.empty() ? "" : ", ") + printable(name);
    fail("the plan has no input ", Quoted{input},
         "; it reads: ", known.empty() ? "nothing" : known);
  }
  const TensorType& type = data_->plan->buffers[static_cast<std::size_t>(found->second)].type;
  check(tensor.defined() && tensor.dtype() == type.dtype && tensor.shape() == type.shape, "input ",
        Quoted{input}, " is ", tensor.defined() ? tensor.text_type() : "undefined",
        ", the plan needs ", type.text());
  data_->carried.erase(found->second);
  Tensor& slot = data_->tensors[found->second];
  if (slot.defined() && slot.data() == tensor.data()) return;
  slot = tensor;
  data_->base[static_cast<std::size_t>(found->second)] = slot.data();
  data_->resolved = false;
}

void RunContext::set(std::string_view input, float value) {
  auto& mine = data_->scalars;
  auto at = mine.find(input);
  if (at == mine.end()) at = mine.emplace(std::string(input), Tensor::scalar(value)).first;
  at->second.span<float>()[0] = value;
  bind(input, at->second);  // checks name and type; nothing to do when it is bound already
}

void RunContext::restart() {
  for (const auto& [in, out] : data_->carried) {
    const auto at = data_->tensors.find(in);  // not there: it starts at zeros
    if (at != data_->tensors.end())
      std::memset(at->second.data(), 0, static_cast<std::size_t>(at->second.bytes()));
  }
}

void RunContext::carry(std::string_view input, const Tensor& tensor) {
  const PlanData& plan = *data_->plan;
  check(plan.carried.contains(std::string(input)), "the plan carries no input ", Quoted{input});
  bind(input, tensor);
  data_->carried.emplace(plan.inputs.find(input)->second,
                         plan.outputs.find(next_name(input))->second);
}

void RunContext::run() {
  Data& d = *data_;
  const PlanData& plan = *d.plan;
  const ThreadScope scope(plan.options.threads);
  if (d.state) {
    // A state may have been given another tensor since the last run.
    for (const auto& [name, b] : plan.states) {
      if (d.state->get(name).data() != d.tensors.at(b).data()) {
        d.attach_state();
        d.resolved = false;
        break;
      }
    }
  }
  if (!d.resolved) d.resolve();
  if (d.prologue_stale()) {
    for (std::size_t s = 0; s < plan.prologue_steps; ++s) d.run_step(s);
    d.prologue_done = true;
    if (d.state) {
      for (const auto& name : plan.prologue_reads) d.seen[name] = d.state->version(name);
    }
  }
  if (d.state) {
    // Before the first step: should one throw, the state counts as changed.
    for (const auto& name : plan.updated) d.state->mark_updated(name);
  }
  for (const Copy& copy : plan.before) d.copy(copy);
  Communicator* ranks = plan.options.communicator;
  for (std::size_t s = plan.prologue_steps; s < plan.steps.size(); ++s) {
    d.run_step(s);
    if (ranks != nullptr) ranks->progress();
  }
  for (const Copy& copy : plan.after) d.copy(copy);
  for (const auto& [in, out] : d.carried) {
    Tensor& to = d.tensors.at(in);
    std::memcpy(to.data(), d.tensors.at(out).data(), static_cast<std::size_t>(to.bytes()));
  }
}

const Tensor& RunContext::output(std::string_view name) const {
  const auto found = data_->plan->outputs.find(name);
  if (found == data_->plan->outputs.end()) {
    std::string known;
    for (const auto& [n, b] : data_->plan->outputs)
      known += (known.empty() ? "" : ", ") + printable(n);
    fail("the plan has no output ", Quoted{name}, "; it has: ", known.empty() ? "none" : known);
  }
  return data_->tensors.at(found->second);
}

std::vector<double> RunContext::profile() {
  std::vector<double> seconds(data_->plan->steps.size());
  struct Restore {
    std::vector<double>*& slot;
    ~Restore() { slot = nullptr; }
  } restore{data_->seconds};
  data_->seconds = &seconds;
  run();
  return seconds;
}

std::string RunContext::chrome_trace(const Plan& plan, const std::vector<double>& seconds) {
  std::ostringstream out;
  out << "{\"traceEvents\":[";
  double now = 0, total = 0;
  for (const double s : seconds) total += s;
  for (std::size_t s = 0; s < seconds.size(); ++s) {
    const StepInfo& step = plan.steps()[s];
    out << (s ? ",\n" : "\n") << "{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"name\":\"" << step.op << " "
        << step.name << "\",\"ts\":" << now * 1e6 << ",\"dur\":" << seconds[s] * 1e6
        << ",\"args\":{\"kernel\":\"" << step.kernel
        << "\",\"share\":" << (total > 0 ? seconds[s] / total : 0) << ",\"bytes\":" << step.bytes
        << ",\"gflops\":" << (seconds[s] > 0 ? step.flops / seconds[s] * 1e-9 : 0)
        << ",\"gbytes_per_s\":"
        << (seconds[s] > 0 ? static_cast<double>(step.bytes) / seconds[s] * 1e-9 : 0) << "}}";
    now += seconds[s];
  }
  out << "\n]}\n";
  return out.str();
}

RunContext Plan::context(State& state) const {
  check(!data_->frozen, "a frozen plan keeps its own parameters; call context() without a state");
  auto data = std::make_unique<RunContext::Data>();
  data->plan = data_;
  data->state = &state;
  data->allocate_buffers();
  data->attach_state();
  data->attach_carried();
  return RunContext(std::move(data));
}

RunContext Plan::context() const {
  check(data_->frozen || data_->states.empty(),
        "this plan works on a state: call context(state), or compile(graph, state, options)");
  auto data = std::make_unique<RunContext::Data>();
  data->plan = data_;
  data->allocate_buffers();
  data->prologue_done = data_->frozen;
  data->attach_carried();
  return RunContext(std::move(data));
}

std::map<std::string, Tensor> Plan::run(const std::map<std::string, Tensor>& inputs) const {
  RunContext context = this->context();
  for (const auto& [name, tensor] : inputs) context.bind(name, tensor);
  context.run();
  std::map<std::string, Tensor> out;
  for (const auto& [name, b] : data_->outputs) out.emplace(name, context.output(name));
  return out;
}

bool Plan::has_input(std::string_view name) const {
  return data_->inputs.contains(name);
}
bool Plan::has_output(std::string_view name) const {
  return std::any_of(data_->outputs.begin(), data_->outputs.end(),
                     [&](const auto& output) { return output.first == name; });
}
const std::vector<StepInfo>& Plan::steps() const {
  return data_->info;
}
const std::map<std::string, TensorType>& Plan::carried() const {
  return data_->carried;
}
int Plan::threads() const {
  return data_->options.threads;
}
bool Plan::updates_last() const {
  return data_->updates_last;
}
const PlanMemory& Plan::memory() const {
  return data_->memory;
}
const std::vector<std::string>& Plan::decoded() const {
  return data_->decoded;
}

std::string Plan::text() const {
  std::ostringstream out;
  out << std::left << std::setw(4) << "" << std::setw(14) << "op" << std::setw(22) << "name"
      << std::setw(34) << "kernel" << std::setw(30) << "type"
      << "bytes\n";
  for (std::size_t s = 0; s < data_->info.size(); ++s) {
    const StepInfo& step = data_->info[s];
    out << std::setw(4) << s << std::setw(14) << step.op << std::setw(22) << printable(step.name)
        << std::setw(34) << step.kernel << std::setw(30) << step.type << step.bytes
        << (step.prologue ? "  once" : "") << (step.note.empty() ? "" : "  " + step.note) << "\n";
  }
  return out.str();
}

void capture(PlanData& plan, const State& state) {
  RunContext::Data run;
  run.plan = std::shared_ptr<const PlanData>(&plan, [](const PlanData*) {});
  for (const auto& [name, b] : plan.states) plan.captured[b] = checked_state(plan, state, name);
  for (std::size_t b = 0; b < plan.buffers.size(); ++b) {
    if (plan.buffers[b].kind == Buffer::Kind::persistent) {
      plan.captured[static_cast<int>(b)] = Tensor(DType::u8, Shape{plan.buffers[b].bytes});
    }
  }
  plan.frozen = true;
  run.allocate_prologue();
  std::byte unread{};  // the prologue reads no inputs
  for (const auto& [name, b] : plan.inputs) run.base[static_cast<std::size_t>(b)] = &unread;
  run.resolve();
  const ThreadScope scope(plan.options.threads);
  for (std::size_t s = 0; s < plan.prologue_steps; ++s) run.run_step(s);

  std::set<int> needed;
  for (std::size_t s = plan.prologue_steps; s < plan.steps.size(); ++s) {
    for (const auto& planes : plan.steps[s].buffers.inputs)
      needed.insert(planes.begin(), planes.end());
  }
  for (const Copy& copy : plan.before) needed.insert(copy.from);
  for (const Copy& copy : plan.after) needed.insert(copy.from);
  plan.memory.states = plan.memory.persistent = 0;
  for (auto at = plan.captured.begin(); at != plan.captured.end();) {
    if (!needed.contains(at->first)) {
      at = plan.captured.erase(at);
      continue;
    }
    // The state may be trained on: a frozen plan has its own copy.
    const bool is_state =
        plan.buffers[static_cast<std::size_t>(at->first)].kind == Buffer::Kind::state;
    if (is_state) at->second = at->second.clone();
    (is_state ? plan.memory.states : plan.memory.persistent) += at->second.bytes();
    ++at;
  }
}

}  // namespace tessera
