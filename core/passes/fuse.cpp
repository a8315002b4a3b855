// Chains of elementwise nodes of one shape become one Program; a program whose operand comes from
// an op with kEpilogue moves into that op. So bias and activation ride on the matmul, and the
// weight update with every weight-only objective rides on the matmul that makes the weight's
// gradient.
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

struct Cluster {
  const Node* root = nullptr;      // the last node; emission happens in its place
  std::vector<const Node*> nodes;  // ascending ids
  const Node* producer = nullptr;  // carries the program as its epilogue, when set
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
    for (Cluster& cluster : clusters_) attach(cluster);
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
    Cluster cluster{root, {root}, nullptr};
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

  // Several operands may come from ops that can carry the program; the last one computed does, for
  // the others are ready by then.
  void attach(Cluster& cluster) {
    const int number = cluster_of_[index(cluster.root)];
    for (const Node* node : cluster.nodes) {
      for (const Value v : node->inputs()) {
        const Node* p = v.node;
        if (!p->op().has(kEpilogue) || p->types().size() != 1 || is_root_[index(p)]) continue;
        if (!p->attrs().string("epilogue").empty() || absorbed_.contains(p)) continue;
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
      if (&node != cluster.root) return;
      // A program over images may keep their layout, also when it is one instruction.
      const bool image = node.types()[0].shape.rank() == 4;
      if (cluster.nodes.size() > 1 || cluster.producer || image) return emit_program(to, cluster);
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

  void emit_program(Graph& to, const Cluster& cluster) {
    Program program;
    std::vector<Value> operands;  // of the fused node, or extra operands of the producer
    std::map<std::pair<const Node*, int>, Operand> known;
    if (cluster.producer) {
      known[{cluster.producer, 0}] = {Operand::Kind::input, 0, 0};
      program.inputs = 1;
    }
    const auto operand = [&](Value v) {
      const auto [at, fresh] = known.try_emplace({v.node, v.index});
      if (!fresh) return at->second;
      if (const auto number = constant_value(v); number && v.shape().rank() == 0) {
        at->second = {Operand::Kind::constant, 0, *number};
      } else {
        at->second = {Operand::Kind::input, program.inputs++, 0};
        operands.push_back(values_.at({v.node, v.index}));
      }
      return at->second;
    };
    std::vector<const Node*> results;
    for (const Node* node : cluster.nodes) {
      Instruction instruction{&node->op(), {}};
      for (const Value v : node->inputs()) instruction.args.push_back(operand(v));
      const int temp = static_cast<int>(program.code.size());
      known[{node, 0}] = {Operand::Kind::temp, temp, 0};
      program.code.push_back(std::move(instruction));
      if (node == cluster.root || is_root_[index(node)]) {
        program.outputs.push_back(temp);
        results.push_back(node);
      }
    }
    const Node* made = nullptr;
    if (cluster.producer) {
      std::vector<Value> inputs = mapped(*cluster.producer);
      inputs.insert(inputs.end(), operands.begin(), operands.end());
      Attrs attrs = cluster.producer->attrs();
      attrs.set("epilogue", program.text());
      made = &to.add(cluster.producer->op(), std::move(inputs), std::move(attrs),
                     cluster.root->name());
    } else {
      made = &to.add(*to.ops().core().fused, std::move(operands), {{"program", program.text()}},
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
  std::map<std::pair<const Node*, int>, Value> values_;
};

}  // namespace

Graph fuse(const Graph& graph, PassContext&) {
  return Fuser(graph).run();
}

}  // namespace tessera
