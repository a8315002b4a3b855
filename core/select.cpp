#include "core/select.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <set>

namespace tessera {

namespace {

bool is_computed(const Node& node) { return !node.op().has(kLeaf) && !node.op().has(kView); }

class Selector {
 public:
  Selector(const Graph& from, const SelectOptions& options)
      : from_(from), options_(options), out_{Graph(from.ops()), {}, {}} {
    for (const auto& update : from.updates()) updated_.insert(update.first.node->name());
    const char* verbose = std::getenv("TESSERA_VERBOSE");
    verbose_ = verbose != nullptr && std::string_view(verbose).find("select") != std::string_view::npos;
  }

  Selection run() {
    GraphMap map(from_);
    const std::vector<bool> live = live_nodes(from_);
    for (const Node& node : from_.nodes()) {
      if (!live[static_cast<std::size_t>(node.id())]) continue;
      std::vector<Value> inputs;
      for (const Value v : node.inputs()) inputs.push_back(map[v]);
      map.set(node, place(node, std::move(inputs)));
    }
    copy_roots(out_.graph, from_, map);
    return std::move(out_);
  }

 private:
  bool fixed(Value v) {
    const auto id = static_cast<std::size_t>(v.node->id());
    if (id >= fixed_.size()) fixed_.resize(id + 1, -1);
    if (fixed_[id] < 0) {
      const Node& node = *v.node;
      bool is = true;
      if (node.op().has(kLeaf)) {
        is = &node.op() == &kConstant || (&node.op() != &kInput && !updated_.contains(node.name()));
      } else {
        for (const Value input : node.inputs()) is = is && (!input || fixed(input));
      }
      fixed_[id] = is;
    }
    return fixed_[id] != 0;
  }

  std::vector<Value> place(const Node& old, std::vector<Value> inputs) {
    std::vector<Value> outputs = copy_node(out_.graph, old, inputs);
    const Node& node = *outputs[0].node;
    if (!is_computed(node)) return outputs;
    if (out_.kernels.contains(&node)) return outputs;
    if (const auto known = replaced_.find(&node); known != replaced_.end()) return known->second;
    std::vector<Value> placed = choose(node);
    if (placed[0].node != &node) replaced_[&node] = placed;
    return placed;
  }

  std::vector<Value> choose(const Node& node) {
    std::vector<std::string> refusals;
    std::vector<Value> inputs(node.inputs().begin(), node.inputs().end());
    if (auto found = first_row(node, refusals)) return with_packs(node, *found, std::move(refusals));
    // No row takes an operand as stored: decode it and ask again.
    bool decoded = false;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i] || inputs[i].type().encoding.is_dense() || node.op().has(kStorage)) continue;
      inputs[i] = decode(node, inputs[i]);
      decoded = true;
    }
    if (decoded) {
      const Node& dense = out_.graph.add(node.op(), std::move(inputs), node.attrs(), node.name());
      return choose(dense);
    }
    if (node.op().decompose != nullptr) {
      std::vector<Value> parts = node.op().decompose(node, inputs);
      std::vector<Value> outputs;
      for (const Value part : parts) outputs.push_back(select_tree(part));
      return outputs;
    }
    std::string reasons;
    for (const auto& reason : refusals) reasons += "; " + reason;
    fail("[", node.op().name, "] no kernel for '", node.name(), "' of type ",
         node.types()[0].text(), reasons);
  }

  // Chooses kernels for nodes that a decomposition has just made.
  Value select_tree(Value value) {
    const Node& node = *value.node;
    if (!is_computed(node) && !node.op().has(kView)) return value;
    if (out_.kernels.contains(&node)) return value;
    std::vector<Value> inputs;
    for (const Value v : node.inputs()) inputs.push_back(v ? select_tree(v) : Value());
    return place(node, std::move(inputs))[static_cast<std::size_t>(value.index)];
  }

  Value decode(const Node& consumer, Value v) {
    const OpDef* op = from_.ops().core().decode;
    TESSERA_ASSERT(op != nullptr);
    const std::string what = cat(consumer.op().name, " '", consumer.name(), "': ",
                                 v.type().text(), " decoded whole, ",
                                 v.shape().numel() * size_of(v.type().dtype), " bytes");
    check(!options_.packed_only, "--packed-only: ", what);
    out_.decoded.push_back(what);
    const Node& node = out_.graph.add(*op, {v}, {}, v.node->name());
    return place_added(node)[0];
  }
  std::vector<Value> place_added(const Node& node) {
    if (out_.kernels.contains(&node)) return {node.output()};
    return choose(node);
  }

  struct Found {
    const KernelRow* row;
    KernelPlan plan;
  };
  std::optional<Found> first_row(const Node& node, std::vector<std::string>& refusals) {
    std::vector<char> flags;
    for (const Value v : node.inputs()) flags.push_back(v && fixed(v));
    const KernelQuery query{
        node, options_.features, options_.threads,
        std::span<const bool>(reinterpret_cast<const bool*>(flags.data()), flags.size())};
    for (const KernelRow& row : node.op().rows) {
      const std::string missing = missing_features(options_.features, row.needs);
      const std::string reason = missing.empty() ? row.refuses(query) : "needs " + missing;
      if (reason.empty()) return Found{&row, row.prepare(query)};
      refusals.push_back(cat(row.name, ": ", reason));
    }
    return std::nullopt;
  }

  std::vector<Value> with_packs(const Node& node, Found& found, std::vector<std::string> refusals) {
    std::vector<Value> inputs(node.inputs().begin(), node.inputs().end());
    bool changed = false;
    auto& packs = found.plan.packs;
    for (std::size_t i = 0; i < packs.size() && i < inputs.size(); ++i) {
      if (!packs[i]) continue;
      inputs[i] = repack(inputs[i], *packs[i]);
      changed = true;
    }
    const Node* target = &node;
    if (changed) target = &out_.graph.add(node.op(), std::move(inputs), node.attrs(), node.name());
    if (verbose_) report(*target, found, refusals);
    out_.kernels[target] = {std::string(found.row->name), std::move(found.plan), std::move(refusals)};
    std::vector<Value> outputs;
    for (int i = 0; i < static_cast<int>(target->types().size()); ++i) outputs.push_back(target->output(i));
    return outputs;
  }

  Value repack(Value v, const OperandPack& pack) {
    const OpDef* op = from_.ops().core().repack;
    TESSERA_ASSERT(op != nullptr);
    const Node& node = out_.graph.add(*op, {v}, {{"encoding", pack.encoding.text()}}, v.node->name());
    KernelPlan plan{.run = pack.pack, .scratch_bytes = pack.scratch_bytes};
    out_.kernels.try_emplace(&node, Selected{cat("pack ", pack.encoding.packed_layout()), std::move(plan), {}});
    return node.output();
  }

  void report(const Node& node, const Found& found, const std::vector<std::string>& refusals) const {
    std::cerr << "select: " << node.op().name << " '" << node.name() << "' "
              << node.types()[0].text() << ": " << found.row->name;
    for (const auto& reason : refusals) std::cerr << "\n  refused " << reason;
    std::cerr << "\n";
  }

  const Graph& from_;
  const SelectOptions& options_;
  Selection out_;
  std::set<std::string> updated_;
  std::vector<signed char> fixed_;
  std::map<const Node*, std::vector<Value>> replaced_;
  bool verbose_ = false;
};

}  // namespace

Selection select_kernels(const Graph& graph, const SelectOptions& options) {
  return Selector(graph, options).run();
}

std::vector<bool> fixed_nodes(const Graph& graph) {
  std::set<const Node*> updated;
  for (const auto& update : graph.updates()) updated.insert(update.first.node);
  std::vector<bool> fixed(graph.nodes().size());
  for (const Node& node : graph.nodes()) {
    bool is = true;  // random ops too: they are functions of (seed, step, id)
    if (node.op().has(kLeaf)) is = &node.op() != &kInput && !updated.contains(&node);
    for (const Value v : node.inputs()) is = is && (!v || fixed[static_cast<std::size_t>(v.node->id())]);
    fixed[static_cast<std::size_t>(node.id())] = is;
  }
  return fixed;
}

}  // namespace tessera
