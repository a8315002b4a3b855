#include "core/plan_builder.h"

#include <algorithm>
#include <queue>
#include <set>

#include "core/text.h"

namespace tessera {

namespace {

using Planes = std::array<int, 3>;

constexpr std::int64_t kMaxSearch = std::int64_t{1} << 24;  // nodes, of all searches of a graph

// StepInfo::weight: behind what only changes how or where elements are kept.
std::string weight_of(const Node& node) {
  constexpr int kMost = 16;  // steps back
  constexpr std::string_view kIndices = ".indices";
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    if (!node.op().input_def(i).encoded) continue;
    const Node* from = node.inputs()[i].node;
    for (int step = 0; step < kMost && from; ++step) {
      if (&from->op() == &kParam || &from->op() == &kState) {
        std::string name = from->name();
        if (name.ends_with(kIndices)) name.resize(name.size() - kIndices.size());
        return name;
      }
      const bool kept =
          from->op().has(kStorage) || from->op().has(kView) || from->op().has(kMovement);
      from = kept && !from->inputs().empty() ? from->inputs()[0].node : nullptr;
    }
  }
  return {};
}

// Turns a selected graph into buffers and an ordered list of steps.
class Builder {
 public:
  Builder(PlanData& plan, std::map<const Node*, Selected>& kernels)
      : plan_(plan),
        graph_(plan.graph),
        kernels_(kernels),
        fixed_(graph_.nodes().size()),
        users_(graph_.nodes().size()),
        edges_(graph_.nodes().size()),
        planes_(graph_.nodes().size()),
        roots_(graph_.nodes().size()),
        seen_(graph_.nodes().size()) {
    FixedNodes fixed(graph_);
    for (const Node& node : graph_.nodes()) {
      fixed_[id(&node)] = fixed(node);
      if (node.op().has(kView)) roots_[id(&node)] = storage_root(node.input(0));
      for (const Value v : node.inputs()) {
        if (v) users_[id(v.node)].push_back(&node);
      }
    }
  }

  void run() {
    live_ = live_nodes(graph_);
    make_leaf_buffers();
    bind_outputs();
    bind_updates();
    for (const Node& node : graph_.nodes()) {
      if (live_[id(&node)]) assign(node);
    }
    finish_roots();
    order_steps();
    place_arena();
    for (auto& buffer : plan_.buffers) {
      if (buffer.kind == Buffer::Kind::persistent) plan_.memory.persistent += buffer.bytes;
      if (buffer.kind == Buffer::Kind::state) plan_.memory.states += buffer.bytes;
    }
    plan_.memory.scratch = plan_.scratch_bytes;
  }

 private:
  static std::size_t id(const Node* node) { return static_cast<std::size_t>(node->id()); }
  bool is_step(const Node& node) const { return kernels_.contains(&node); }

  int add_buffer(Buffer buffer) {
    plan_.buffers.push_back(std::move(buffer));
    return static_cast<int>(plan_.buffers.size()) - 1;
  }

  static std::int64_t dense_bytes(const TensorType& type) {
    return type.shape.numel() * size_of(type.dtype);
  }

  void make_leaf_buffers() {
    for (const Node& node : graph_.nodes()) {
      if (!live_[id(&node)] || !node.op().has(kLeaf)) continue;
      const TensorType& type = node.types()[0];
      Buffer buffer{Buffer::Kind::state, dense_bytes(type), 0, node.name(), type, 0};
      if (&node.op() == &kInput) buffer.kind = Buffer::Kind::input;
      if (&node.op() == &kConstant) {
        buffer.kind = Buffer::Kind::constant;
        buffer.fill = *constant_value(node.output());
      }
      const int b = add_buffer(buffer);
      planes_[id(&node)] = {{b, -1, -1}};
      if (buffer.kind == Buffer::Kind::input) plan_.inputs[node.name()] = b;
      if (buffer.kind == Buffer::Kind::state) plan_.states[node.name()] = b;
    }
  }

  // The value whose buffer `v` shares, through views.
  Value storage_root(Value v) const { return v.node->op().has(kView) ? roots_[id(v.node)] : v; }

  void bind_outputs() {
    for (const auto& [name, value] : graph_.outputs()) {
      const TensorType type = value.type();
      check(type.encoding.is_dense(), "output ", Quoted{name}, " is ", type.text(),
            "; only dense values can be outputs");
      const int b = add_buffer({Buffer::Kind::output, dense_bytes(type), 0, name, type, 0});
      plan_.outputs[name] = b;
      const Value root = storage_root(value);
      if (is_step(*root.node) && !fixed_[id(root.node)] && !bound_.contains(key(root))) {
        bound_[key(root)] = b;
      } else {
        output_copies_.push_back({value, b, type});
      }
    }
    for (const Node* node : carried_inputs(graph_)) {
      if (plan_.inputs.contains(node->name()))
        plan_.carried.emplace(node->name(), node->types()[0]);
    }
  }

  using Key = std::pair<const Node*, int>;
  static Key key(Value v) { return {v.node, v.index}; }

  // Every node that reads the storage of a leaf, directly or through views.
  std::vector<const Node*> readers_of(const Node* leaf) const {
    std::vector<const Node*> out, stack = {leaf};
    while (!stack.empty()) {
      const Node* node = stack.back();
      stack.pop_back();
      for (const Node* user : users_[id(node)]) {
        if (!live_[id(user)]) continue;
        if (user->op().has(kView)) stack.push_back(user);
        if (is_step(*user)) out.push_back(user);
      }
    }
    return out;
  }

  // Also true when the searches of this graph have taken too long: the update is then a copy.
  bool reaches(const Node* from, const Node* to) {
    std::vector<const Node*> stack = {from};
    ++search_;
    while (!stack.empty()) {
      const Node* node = stack.back();
      stack.pop_back();
      if (node == to || --search_left_ < 0) return true;
      if (seen_[id(node)] == search_) continue;
      seen_[id(node)] = search_;
      for (const Node* next : users_[id(node)]) stack.push_back(next);
      for (const Node* next : edges_[id(node)]) stack.push_back(next);
    }
    return false;
  }

  // An update is written straight into its state when every other reader of the state can run
  // before the writer (edges are added for that) and the writer itself reads it element by element.
  void bind_updates() {
    for (const auto& [state, value] : graph_.updates()) {
      plan_.updated.insert(state.node->name());
      if (state == value) continue;
      const int to = planes_[id(state.node)][0][0];
      const Node* writer = value.node;
      // A fixed value is made by the prologue, which does not run in every step.
      bool direct = is_step(*writer) && !fixed_[id(writer)] && !bound_.contains(key(value));
      const std::vector<const Node*> readers = readers_of(state.node);
      for (const Node* reader : readers) {
        if (!direct) break;
        direct = reader == writer ? reads_elementwise(*writer, state) : !reaches(writer, reader);
      }
      if (!direct) {
        update_copies_.push_back({value, to, state.type()});
        continue;
      }
      bound_[key(value)] = to;
      for (const Node* reader : readers) {
        if (reader != writer) edges_[id(reader)].push_back(writer);
      }
    }
  }

  // Whether v shares storage with the state: the state itself, or a view of it.
  static bool touches(Value v, Value state) {
    std::vector<Value> stack = {v};
    while (!stack.empty()) {
      const Value top = stack.back();
      stack.pop_back();
      if (top == state) return true;
      if (!top || !top.node->op().has(kView)) continue;
      stack.insert(stack.end(), top.node->inputs().begin(), top.node->inputs().end());
    }
    return false;
  }

  bool reads_elementwise(const Node& writer, Value state) const {
    const auto& selected = kernels_.at(&writer);
    if (!selected.plan.in_place) return false;
    // The program's operands are the variadic tail of an op with kEpilogue.
    const std::size_t first = writer.op().has(kEpilogue) ? writer.op().inputs.size() - 1 : 0;
    for (std::size_t i = 0; i < writer.inputs().size(); ++i) {
      const Value v = writer.inputs()[i];
      if (!touches(v, state)) continue;
      if (i < first || !(v == state) || !(v.type() == writer.types()[0])) return false;
    }
    return true;
  }

  void assign(const Node& node) {
    if (node.op().has(kLeaf)) return;
    auto& mine = planes_[id(&node)];
    if (node.op().has(kView)) {
      // A view binds the first plane of each of its operands: reshape has one, codebook several.
      Planes planes = {-1, -1, -1};
      int next = 0;
      for (const Value v : node.inputs()) {
        if (v) planes[static_cast<std::size_t>(next++)] = planes_of(v)[0];
      }
      mine = {planes};
      return;
    }
    for (int i = 0; i < static_cast<int>(node.types().size()); ++i) {
      const TensorType& type = node.types()[static_cast<std::size_t>(i)];
      const auto bound = bound_.find({&node, i});
      if (bound != bound_.end()) {
        mine.push_back({bound->second, -1, -1});
        continue;
      }
      const auto planes = type.encoding.planes(type.dtype, type.shape);
      TESSERA_ASSERT(planes.size() == 1);  // encoded values are made of views and repacks
      const auto kind = fixed_[id(&node)] ? Buffer::Kind::persistent : Buffer::Kind::arena;
      mine.push_back({add_buffer({kind, planes[0].bytes(), 0, {}, type, 0}), -1, -1});
    }
  }

  const Planes& planes_of(Value v) const {
    return planes_[id(v.node)][v.node->op().has(kView) ? 0 : static_cast<std::size_t>(v.index)];
  }

  void finish_roots() {
    for (const auto& copy : output_copies_) {
      const Value root = storage_root(copy.value);
      auto& list = root.node->op().has(kLeaf) ? plan_.before : plan_.after;
      list.push_back({planes_of(copy.value)[0], copy.buffer, dense_bytes(copy.type)});
    }
    for (const auto& copy : update_copies_) {
      const std::int64_t bytes = dense_bytes(copy.type);
      int from = planes_of(copy.value)[0];
      // A state that becomes another state's content may itself change in this step: keep what it
      // held before.
      const Value root = storage_root(copy.value);
      if (root.node->op().has(kLeaf) && plan_.updated.contains(root.node->name())) {
        const int kept = add_buffer({Buffer::Kind::persistent, bytes, 0, {}, copy.type, 0});
        plan_.before.push_back({from, kept, bytes});
        from = kept;
      }
      plan_.after.push_back({from, copy.buffer, bytes});
    }
  }

  // Nodes of a rank: what sends runs at once, what waits when nothing else can, and what changes a
  // state after that, so that a run which cannot go on leaves the states as they were.
  int turn(const Node& node) const {
    if (fixed_[id(&node)]) return 0;
    if (node.op().has(kStartsEarly)) return 1;
    if (node.op().has(kEndsLate)) return 3;
    return writers_.contains(&node) ? 4 : 2;
  }

  void find_writers() {
    const auto talks = [](const Node& node) { return node.op().has(kCommunicates); };
    if (std::ranges::none_of(graph_.nodes(), talks)) return;
    for (const auto& [value, b] : bound_) {
      if (plan_.buffers[static_cast<std::size_t>(b)].kind == Buffer::Kind::state)
        writers_.insert(value.first);
    }
  }

  // Kahn's algorithm with the turn, then the original order as priority; the prologue comes first.
  void order_steps() {
    find_writers();
    std::vector<int> waiting(graph_.nodes().size());
    for (const Node& node : graph_.nodes()) {
      if (!live_[id(&node)]) continue;
      for (const Value v : node.inputs()) waiting[id(&node)] += static_cast<bool>(v);
      for (const Node* next : edges_[id(&node)]) ++waiting[id(next)];
    }
    using Item = std::pair<int, int>;  // (turn, node id)
    std::priority_queue<Item, std::vector<Item>, std::greater<>> ready;
    const auto offer = [&](const Node& node) {
      if (waiting[id(&node)] == 0) ready.push({turn(node), node.id()});
    };
    for (const Node& node : graph_.nodes()) {
      if (live_[id(&node)]) offer(node);
    }
    while (!ready.empty()) {
      const Node& node = graph_.nodes()[static_cast<std::size_t>(ready.top().second)];
      ready.pop();
      if (is_step(node)) add_step(node);
      const auto release = [&](const Node* next) {
        if (live_[id(next)] && --waiting[id(next)] == 0) offer(*next);
      };
      for (const Node* next : users_[id(&node)]) release(next);
      for (const Node* next : edges_[id(&node)]) release(next);
    }
  }

  void add_step(const Node& node) {
    Selected& selected = kernels_.at(&node);
    Step step;
    step.node = &node;
    step.run = std::move(selected.plan.run);
    step.threads = selected.threads;
    std::int64_t bytes = 0;
    const auto count = [&](const Planes& planes) {
      for (const int b : planes)
        bytes += b < 0 ? 0 : plan_.buffers[static_cast<std::size_t>(b)].bytes;
    };
    for (const Value v : node.inputs()) {
      step.buffers.inputs.push_back(v ? planes_of(v) : Planes{-1, -1, -1});
      count(step.buffers.inputs.back());
    }
    for (const Planes& planes : planes_[id(&node)]) {
      step.buffers.outputs.push_back(planes);
      count(planes);
    }
    if (selected.plan.in_place) note_over(node, step);
    const bool prologue = fixed_[id(&node)];
    TESSERA_ASSERT(!prologue || plan_.prologue_steps == plan_.steps.size());
    if (prologue) note_prologue_reads(node);
    plan_.prologue_steps += prologue;
    wrote_ = wrote_ || writers_.contains(&node);
    if (wrote_ && node.op().has(kCommunicates)) plan_.updates_last = false;
    plan_.scratch_bytes = std::max(plan_.scratch_bytes, selected.plan.scratch_bytes);
    if (prologue) {
      plan_.prologue_scratch_bytes =
          std::max(plan_.prologue_scratch_bytes, selected.plan.scratch_bytes);
    }
    plan_.info.push_back({node.name(), weight_of(node), std::string(node.op().name),
                          selected.kernel, node.types()[0].text(), selected.plan.note,
                          selected.plan.flops, bytes, prologue, std::move(selected.refusals)});
    plan_.steps.push_back(std::move(step));
  }

  // Operands of the outputs' type that are read once, element by element.
  void note_over(const Node& node, Step& step) const {
    const std::size_t first = node.op().has(kEpilogue) ? node.op().inputs.size() - 1 : 0;
    const TensorType& type = node.types()[0];
    for (std::size_t i = first; i < node.inputs().size(); ++i) {
      const Value v = node.inputs()[i];
      if (!v || !(v.type() == type)) continue;
      const int from = step.buffers.inputs[i][0];
      const auto reads = std::ranges::count_if(step.buffers.inputs, [&](const Planes& planes) {
        return std::ranges::find(planes, from) != planes.end();
      });
      if (reads != 1) continue;
      for (std::size_t o = 0; o < node.types().size(); ++o) {
        if (node.types()[o] == type) step.over.emplace_back(step.buffers.outputs[o][0], from);
      }
    }
  }

  void note_prologue_reads(const Node& node) {
    for (const Value v : node.inputs()) {
      if (!v) continue;
      for (const int b : planes_of(v)) {
        if (b >= 0 && plan_.buffers[static_cast<std::size_t>(b)].kind == Buffer::Kind::state) {
          plan_.prologue_reads.insert(plan_.buffers[static_cast<std::size_t>(b)].name);
        }
      }
    }
  }

  void place_arena() {
    std::map<int, Lifetime> lives;
    const auto touch = [&](int b, int step) {
      if (b < 0 || plan_.buffers[static_cast<std::size_t>(b)].kind != Buffer::Kind::arena) return;
      auto [at, fresh] = lives.try_emplace(b, Lifetime{b, step, step});
      at->second.first = std::min(at->second.first, step);
      at->second.last = std::max(at->second.last, step);
    };
    const int count = static_cast<int>(plan_.steps.size());
    for (int s = 0; s < count; ++s) {
      const auto& buffers = plan_.steps[static_cast<std::size_t>(s)].buffers;
      for (const auto& planes : buffers.inputs) {
        for (const int b : planes) touch(b, s);
      }
      for (const auto& planes : buffers.outputs) {
        for (const int b : planes) touch(b, s);
      }
    }
    for (const Copy& copy : plan_.after) touch(copy.from, count);
    // What dies as an operand of a step that may write over it is where its output goes.
    std::map<int, int> shares;  // a buffer in the place of another
    for (int s = 0; s < count; ++s) {
      for (const auto& [to, from] : plan_.steps[static_cast<std::size_t>(s)].over) {
        const auto place = shares.contains(from) ? shares.at(from) : from;
        const auto made = lives.find(to), dead = lives.find(place);
        if (made == lives.end() || dead == lives.end() || made->second.first != s ||
            dead->second.last != s || made->second.last == s)
          continue;
        dead->second.last = made->second.last;
        lives.erase(made);
        shares[to] = place;
      }
    }
    std::vector<Lifetime> lifetimes;
    for (const auto& [b, life] : lives) lifetimes.push_back(life);
    plan_.memory.arena = plan_arena(plan_.buffers, lifetimes);
    for (const auto& [to, place] : shares) {
      plan_.buffers[static_cast<std::size_t>(to)].offset =
          plan_.buffers[static_cast<std::size_t>(place)].offset;
    }
    for (const auto& life : lifetimes) {
      if (life.last >= count) continue;
      const Buffer& buffer = plan_.buffers[static_cast<std::size_t>(life.buffer)];
      plan_.steps[static_cast<std::size_t>(life.last)].dies.emplace_back(buffer.offset,
                                                                         buffer.bytes);
    }
  }

  struct PendingCopy {
    Value value;
    int buffer;
    TensorType type;
  };

  PlanData& plan_;
  const Graph& graph_;
  std::map<const Node*, Selected>& kernels_;
  std::vector<bool> fixed_, live_;
  std::vector<std::vector<const Node*>> users_, edges_;
  std::vector<std::vector<Planes>> planes_;
  std::vector<Value> roots_;  // of views
  std::int64_t search_left_ = kMaxSearch;
  int search_ = 0;
  std::vector<int> seen_;  // by the search of this number
  std::map<Key, int> bound_;
  std::set<const Node*> writers_;  // nodes that write straight into a state; of ranks only
  bool wrote_ = false;             // one of them is a step already
  std::vector<PendingCopy> output_copies_, update_copies_;
};

}  // namespace

void place_and_order(PlanData& plan, std::map<const Node*, Selected>& selected) {
  Builder(plan, selected).run();
}

}  // namespace tessera
