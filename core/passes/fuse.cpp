// Chains of elementwise nodes of one shape become one Program; a program whose operand comes from
// an op with kEpilogue moves into that op. So bias and activation ride on the matmul, and the
// weight update with every weight-only objective rides on the matmul that makes the weight's
// gradient. Images are made again rather than read where that moves fewer bytes: the gradient
// behind an activation, say, from the convolution's result that batch-norm's backward reads anyway.
#include <algorithm>
#include <map>
#include <set>

#include "core/op_def.h"
#include "core/passes/passes.h"
#include "core/program.h"

namespace tessera {

namespace {

constexpr std::size_t kMaxInstructions = 64;
constexpr std::size_t kMaxInputs = 24;
constexpr std::size_t kMaxRoots = 16;
constexpr std::size_t kMaxCopies = 12;  // nodes that a consumer computes again

struct Cluster {
  const Node* root = nullptr;      // the last node; emission happens in its place
  std::vector<const Node*> nodes;  // ascending ids
  const Node* producer = nullptr;  // carries the program as its epilogue, when set
  std::set<const Node*> copies;    // of other clusters, computed again here
  bool dropped = false;            // all consumers compute it again
};

class Fuser {
 public:
  explicit Fuser(const Graph& graph)
      : graph_(graph),
        live_(live_nodes(graph)),
        users_(graph.nodes().size()),
        is_root_(graph.nodes().size()),
        cluster_of_(graph.nodes().size(), -1) {
    for (const Node& node : graph.nodes()) {
      if (!live_[index(&node)]) continue;
      for (const Value v : node.inputs()) {
        if (v) users_[index(v.node)].push_back(&node);
      }
    }
    for (const auto& output : graph.outputs()) is_root_[index(output.second.node)] = true;
    for (const auto& update : graph.updates()) is_root_[index(update.second.node)] = true;
  }

  Graph run() {
    for (auto node = graph_.nodes().rbegin(); node != graph_.nodes().rend(); ++node) {
      if (fusible(&*node) && cluster_of_[index(&*node)] < 0) grow(&*node);
    }
    for (const Node& node : graph_.nodes()) {
      if (live_[index(&node)]) recompute(&node);
    }
    for (Cluster& cluster : clusters_) {
      if (!cluster.dropped) attach(cluster);
    }
    Graph to(graph_.ops());
    for (const Node& node : graph_.nodes()) {
      if (live_[index(&node)]) emit(to, node);
    }
    const auto result = [&](Value old) { return values_.at({old.node, old.index}); };
    for (const auto& [name, value] : graph_.outputs()) to.set_output(name, result(value));
    for (const auto& [state, value] : graph_.updates()) to.set_update(result(state), result(value));
    return to;
  }

 private:
  static std::size_t index(const Node* node) { return static_cast<std::size_t>(node->id()); }

  bool fusible(const Node* node) const {
    return live_[index(node)] && node->op().has(kElementwise) &&
           node->types()[0].dtype == DType::f32;
  }

  // A producer joins when it has the cluster's shape and nobody outside needs it before the cluster
  // is done: all other uses are roots of the graph (it becomes one more output of the program).
  void grow(const Node* root) {
    const int number = static_cast<int>(clusters_.size());
    Cluster cluster;
    cluster.root = root;
    cluster.nodes = {root};
    cluster_of_[index(root)] = number;
    std::set<int, std::greater<>> candidates;
    std::size_t roots = 1;
    const auto offer = [&](const Node* node) {
      for (const Value v : node->inputs()) {
        if (v && fusible(v.node) && cluster_of_[index(v.node)] < 0) candidates.insert(v.node->id());
      }
    };
    offer(root);
    while (!candidates.empty() && cluster.nodes.size() < kMaxInstructions) {
      const Node* node = &graph_.nodes()[static_cast<std::size_t>(*candidates.begin())];
      candidates.erase(candidates.begin());
      if (cluster_of_[index(node)] >= 0 || !(node->types()[0] == root->types()[0])) continue;
      const bool inside =
          std::all_of(users_[index(node)].begin(), users_[index(node)].end(),
                      [&](const Node* user) { return cluster_of_[index(user)] == number; });
      if (!inside || count_inputs(cluster, node) > kMaxInputs) continue;
      if (is_root_[index(node)] && ++roots > kMaxRoots) continue;
      cluster_of_[index(node)] = number;
      cluster.nodes.push_back(node);
      offer(node);
    }
    std::sort(cluster.nodes.begin(), cluster.nodes.end(),
              [](const Node* a, const Node* b) { return a->id() < b->id(); });
    clusters_.push_back(std::move(cluster));
  }

  std::size_t count_inputs(const Cluster& cluster, const Node* extra) const {
    std::set<std::pair<const Node*, int>> seen;
    const auto add = [&](const Node* node) {
      for (const Value v : node->inputs()) {
        const bool interior =
            v.node == extra ||
            std::find(cluster.nodes.begin(), cluster.nodes.end(), v.node) != cluster.nodes.end();
        if (!interior) seen.emplace(v.node, v.index);
      }
    };
    for (const Node* node : cluster.nodes) add(node);
    add(extra);
    return seen.size();
  }

  // ---- computing images again ----

  static bool is_image(const Node* node) { return node->types()[0].shape.rank() == 4; }
  // What a program over images of type `image` reads in full, not as a scalar or channel vector.
  static bool is_full(Value v, const TensorType& image) { return v.type() == image; }
  static bool is_small(Value v, const TensorType& image) {
    const Shape& s = v.shape();
    if (s.rank() == 0) return true;
    const int c = s.rank() - 3;  // axis of channels
    for (int i = 0; i < s.rank(); ++i) {
      if (!s[i].is_one() && !(i == c && s[i] == image.shape[1])) return false;
    }
    return true;
  }

  // Who reads values: a cluster, or a node that can carry a prologue for its first operand.
  struct Reader {
    int cluster = -1;
    const Node* node = nullptr;
    friend bool operator<(const Reader& a, const Reader& b) {
      return std::pair(a.cluster, a.node) < std::pair(b.cluster, b.node);
    }
  };

  // Full-size values that a reader reads besides `without`.
  std::set<std::pair<const Node*, int>> reads(const Reader& reader, const Node* without,
                                              const TensorType& image) const {
    std::set<std::pair<const Node*, int>> out;
    const auto add = [&](const Node* node, int self) {
      for (const Value v : node->inputs()) {
        if (!v || v.node == without || !is_full(v, image)) continue;
        if (self >= 0 && cluster_of_[index(v.node)] == self) continue;
        out.emplace(v.node, v.index);
      }
    };
    if (reader.node != nullptr) {
      add(reader.node, -1);
      return out;
    }
    const Cluster& cluster = clusters_[static_cast<std::size_t>(reader.cluster)];
    for (const Node* node : cluster.nodes) add(node, reader.cluster);
    for (const Node* node : cluster.copies) {
      for (const Value v : node->inputs()) {
        if (v && v.node != without && is_full(v, image) && !cluster.copies.contains(v.node))
          out.emplace(v.node, v.index);
      }
    }
    return out;
  }

  // The nodes that compute v from what `known` holds and at most a few values more, which go to
  // `fresh`; false when it takes too many nodes.
  bool expand(const Node* v, const std::set<std::pair<const Node*, int>>& known,
              const TensorType& image, std::set<const Node*>& nodes,
              std::set<std::pair<const Node*, int>>& fresh) const {
    if (!nodes.insert(v).second) return true;
    if (nodes.size() > kMaxCopies) return false;
    for (const Value input : v->inputs()) {
      if (!input || known.contains({input.node, input.index})) continue;
      if (!is_full(input, image)) {
        if (!is_small(input, image)) return false;
        continue;
      }
      if (fusible(input.node)) {
        // Deeper when that needs nothing new.
        auto more = nodes;
        std::set<std::pair<const Node*, int>> needs;
        const bool dropped = is_dropped(input.node);
        if (expand(input.node, known, image, more, needs) && (needs.empty() || dropped)) {
          nodes = std::move(more);
          fresh.insert(needs.begin(), needs.end());
          continue;
        }
        if (dropped) return false;
        // Interior of a cluster: nobody stores it.
        const int number = cluster_of_[index(input.node)];
        if (clusters_[static_cast<std::size_t>(number)].root != input.node &&
            !is_root_[index(input.node)]) {
          if (!expand(input.node, known, image, nodes, fresh)) return false;
          continue;
        }
      }
      fresh.emplace(input.node, input.index);
    }
    return true;
  }
  bool is_dropped(const Node* node) const {
    const int number = cluster_of_[index(node)];
    return number >= 0 && clusters_[static_cast<std::size_t>(number)].dropped;
  }

  // The result of a cluster: when every reader can make it from what it reads already and one value
  // more, nobody stores it; a reader that needs nothing more makes it rather than read it.
  void recompute(const Node* v) {
    const int number = cluster_of_[index(v)];
    if (number < 0 || !is_image(v) || is_root_[index(v)]) return;
    if (clusters_[static_cast<std::size_t>(number)].root != v) return;
    const TensorType& image = v->types()[0];
    std::set<Reader> readers;
    bool other = false;
    for (const Node* user : users_[index(v)]) {
      const int cluster = cluster_of_[index(user)];
      if (cluster >= 0) {
        readers.insert({cluster, nullptr});
      } else if (user->op().has(kPrologue) && user->input(0).node == v && reads_once(user, v)) {
        readers.insert({-1, user});
      } else {
        other = true;
      }
    }
    std::map<Reader, std::pair<std::set<const Node*>, std::size_t>> plans;
    // A cluster with more results than v, which are asked for, stays.
    const auto& mine = clusters_[static_cast<std::size_t>(number)].nodes;
    bool all = !other && std::none_of(mine.begin(), mine.end(),
                                      [&](const Node* node) { return is_root_[index(node)]; });
    for (const Reader& reader : readers) {
      auto& [nodes, fresh_count] = plans[reader];
      std::set<std::pair<const Node*, int>> fresh;
      const bool works =
          expand(v, reads(reader, v, image), image, nodes, fresh) && fits(reader, nodes);
      fresh_count = works ? fresh.size() : kMaxInputs;
      all = all && fresh_count <= 1;
    }
    if (all && readers.size() < 2 && readers.begin()->cluster >= 0) return;  // would have joined
    for (const auto& [reader, plan] : plans) {
      if (!all && (plan.second > 0 || reader.node != nullptr)) continue;
      auto& copies = reader.node ? prologues_[reader.node]
                                 : clusters_[static_cast<std::size_t>(reader.cluster)].copies;
      copies.insert(plan.first.begin(), plan.first.end());
    }
    clusters_[static_cast<std::size_t>(number)].dropped = all;
  }

  // Whether a reader's program stays within the limits with these nodes.
  bool fits(const Reader& reader, const std::set<const Node*>& nodes) const {
    std::set<const Node*> all = nodes;
    if (reader.node == nullptr) {
      const Cluster& cluster = clusters_[static_cast<std::size_t>(reader.cluster)];
      all.insert(cluster.nodes.begin(), cluster.nodes.end());
      all.insert(cluster.copies.begin(), cluster.copies.end());
    }
    std::set<std::pair<const Node*, int>> inputs;
    for (const Node* node : all) {
      for (const Value v : node->inputs()) {
        if (v && !all.contains(v.node)) inputs.emplace(v.node, v.index);
      }
    }
    return all.size() <= kMaxInstructions && inputs.size() <= kMaxInputs;
  }

  static bool reads_once(const Node* user, const Node* v) {
    return std::count_if(user->inputs().begin(), user->inputs().end(),
                         [&](Value input) { return input.node == v; }) == 1;
  }

  // Several operands may come from ops that can carry the program; the last one computed does, for
  // the others are ready by then.
  void attach(Cluster& cluster) {
    const int number = cluster_of_[index(cluster.root)];
    for (const Node* node : cluster.nodes) {
      for (const Value v : node->inputs()) {
        const Node* p = v.node;
        if (!p->op().has(kEpilogue) || p->types().size() != 1 || is_root_[index(p)]) continue;
        if (p->attrs().program("epilogue") || absorbed_.contains(p)) continue;
        if (!(p->types()[0] == cluster.root->types()[0])) continue;
        const bool private_use =
            std::all_of(users_[index(p)].begin(), users_[index(p)].end(),
                        [&](const Node* user) { return cluster_of_[index(user)] == number; });
        if (!private_use) continue;
        if (cluster.producer == nullptr || cluster.producer->id() < p->id()) cluster.producer = p;
      }
    }
    if (cluster.producer) absorbed_.insert(cluster.producer);
  }

  // Interior nodes of a cluster and its producer get their value when the root is emitted.
  void emit(Graph& to, const Node& node) {
    const int number = cluster_of_[index(&node)];
    if (number >= 0) {
      const Cluster& cluster = clusters_[static_cast<std::size_t>(number)];
      if (&node != cluster.root || cluster.dropped) return;
      // A program over images may keep their layout, also when it is one instruction.
      const bool image = node.types()[0].shape.rank() == 4;
      if (cluster.nodes.size() > 1 || cluster.producer || image) return emit_program(to, cluster);
    }
    if (const auto at = prologues_.find(&node); at != prologues_.end()) {
      return emit_prologue(to, node, at->second);
    }
    if (!absorbed_.contains(&node)) remember(node, copy_node(to, node, mapped(node)));
  }

  std::vector<Value> mapped(const Node& node) const {
    std::vector<Value> out;
    for (const Value v : node.inputs()) out.push_back(v ? values_.at({v.node, v.index}) : Value());
    return out;
  }
  void remember(const Node& node, const std::vector<Value>& values) {
    for (std::size_t i = 0; i < values.size(); ++i)
      values_[{&node, static_cast<int>(i)}] = values[i];
  }

  // A program under construction, and what it reads in order.
  struct Writer {
    const Fuser& fuser;
    Program program = {};
    std::vector<Value> operands = {};
    std::map<std::pair<const Node*, int>, Operand> known = {};

    Operand operand(Value v) {
      const auto [at, fresh] = known.try_emplace({v.node, v.index});
      if (!fresh) return at->second;
      if (const auto number = constant_value(v); number && v.shape().rank() == 0) {
        at->second = {Operand::Kind::constant, 0, *number};
      } else {
        at->second = {Operand::Kind::input, program.inputs++, 0};
        operands.push_back(fuser.values_.at({v.node, v.index}));
      }
      return at->second;
    }
    // Nodes in ascending order of ids.
    int add(const Node* node) {
      Instruction instruction{&node->op(), {}};
      for (const Value v : node->inputs()) instruction.args.push_back(operand(v));
      const int temp = static_cast<int>(program.code.size());
      known[{node, 0}] = {Operand::Kind::temp, temp, 0};
      program.code.push_back(std::move(instruction));
      return temp;
    }
  };
  static bool by_id(const Node* a, const Node* b) { return a->id() < b->id(); }

  // The program that makes the node's first operand; what it reads in full comes first.
  void emit_prologue(Graph& to, const Node& node, const std::set<const Node*>& copies) {
    std::vector<const Node*> nodes(copies.begin(), copies.end());
    std::sort(nodes.begin(), nodes.end(), by_id);
    Writer writer{*this};
    const TensorType& image = node.input(0).type();
    for (const Node* n : nodes) {
      for (const Value v : n->inputs()) {
        if (writer.operands.empty() && is_full(v, image) && !copies.contains(v.node) &&
            !(v == node.input(1))) {
          writer.operand(v);
        }
      }
    }
    if (writer.operands.empty()) writer.operand(node.input(1));
    for (const Node* n : nodes) writer.add(n);
    writer.program.outputs = {writer.known.at({node.input(0).node, 0}).index};
    std::vector<Value> inputs;
    for (const Value v : node.inputs()) {
      inputs.push_back(v == node.input(0) ? writer.operands[0] : values_.at({v.node, v.index}));
    }
    inputs.insert(inputs.end(), writer.operands.begin() + 1, writer.operands.end());
    Attrs attrs = node.attrs();
    attrs.set("prologue", std::move(writer.program));
    const Node& made = to.add(node.op(), std::move(inputs), std::move(attrs), node.name());
    std::vector<Value> outputs;
    for (int i = 0; i < static_cast<int>(made.types().size()); ++i)
      outputs.push_back(made.output(i));
    remember(node, outputs);
  }

  void emit_program(Graph& to, const Cluster& cluster) {
    Writer writer{*this};
    Program& program = writer.program;
    std::vector<Value>& operands = writer.operands;  // of the fused node, or more of the producer
    if (cluster.producer) {
      writer.known[{cluster.producer, 0}] = {Operand::Kind::input, 0, 0};
      program.inputs = 1;
    }
    std::vector<const Node*> nodes(cluster.copies.begin(), cluster.copies.end());
    nodes.insert(nodes.end(), cluster.nodes.begin(), cluster.nodes.end());
    std::sort(nodes.begin(), nodes.end(), by_id);
    std::vector<const Node*> results;
    for (const Node* node : nodes) {
      const int temp = writer.add(node);
      if (!cluster.copies.contains(node) && (node == cluster.root || is_root_[index(node)])) {
        program.outputs.push_back(temp);
        results.push_back(node);
      }
    }
    const Node* made = nullptr;
    if (cluster.producer) {
      std::vector<Value> inputs = mapped(*cluster.producer);
      inputs.insert(inputs.end(), operands.begin(), operands.end());
      Attrs attrs = cluster.producer->attrs();
      attrs.set("epilogue", std::move(program));
      made = &to.add(cluster.producer->op(), std::move(inputs), std::move(attrs),
                     cluster.root->name());
    } else {
      made = &to.add(*to.ops().core().fused, std::move(operands), {{"program", std::move(program)}},
                     cluster.root->name());
    }
    for (std::size_t i = 0; i < results.size(); ++i) {
      values_[{results[i], 0}] = made->output(static_cast<int>(i));
    }
  }

  const Graph& graph_;
  std::vector<bool> live_;
  std::vector<std::vector<const Node*>> users_;
  std::vector<bool> is_root_;
  std::vector<int> cluster_of_;
  std::vector<Cluster> clusters_;
  std::set<const Node*> absorbed_;
  std::map<const Node*, std::set<const Node*>> prologues_;
  std::map<std::pair<const Node*, int>, Value> values_;
};

}  // namespace

Graph fuse(const Graph& graph, PassContext&) {
  return Fuser(graph).run();
}

}  // namespace tessera
