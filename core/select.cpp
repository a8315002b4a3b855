#include "core/select.h"

#include <algorithm>
#include <iostream>
#include <optional>

#include "core/environment.h"
#include "core/text.h"
#include "core/threads.h"

namespace tessera {

namespace {

bool is_computed(const Node& node) {
  return !node.op().has(kLeaf) && !node.op().has(kView);
}

double dense_bytes(const TensorType& type) {
  return static_cast<double>(type.shape.numel()) * static_cast<double>(size_of(type.dtype));
}

// Microseconds of one thread below which waking another costs about what it saves: it sleeps where
// steps before were of one thread.
constexpr double kSmallStep = 30;

// Threads for a node: one where it is small. By what a step does, not by its kernel, so that
// kernels are made for as many as will run them.
int threads_for(const Node& node, int most, bool int8) {
  if (most == 1) return 1;
  double bytes = 0;
  bool coded = false;
  for (const Value v : node.inputs()) {
    if (!v) continue;
    coded = coded || v.type().encoding.is_codebook();
    bytes += dense_bytes(v.type());
  }
  for (const TensorType& type : node.types()) bytes += dense_bytes(type);
  const double operations = node.op().work == nullptr ? 0 : node.op().work(node);
  // What cores of today do at best in a microsecond.
  const double rate = int8 && coded ? 800e3 : 200e3, read = 30e3;
  return std::max(operations / rate, bytes / read) < kSmallStep ? 1 : most;
}

// "" or why a row asks for too much memory beside the operands and results. Shapes of a file may
// make scratch and packed forms that are out of all proportion to it.
std::string refuses_memory(const KernelQuery& query, const KernelPlan& plan) {
  constexpr double kFree = 64 << 20;
  double values = 0, wanted = static_cast<double>(plan.scratch_bytes);
  for (const Value v : query.node.inputs()) values += v ? dense_bytes(v.type()) : 0;
  for (const TensorType& type : query.node.types()) values += dense_bytes(type);
  for (std::size_t i = 0; i < std::min(plan.packs.size(), query.node.inputs().size()); ++i) {
    if (!plan.packs[i]) continue;
    const TensorType& type = query.node.inputs()[i].type();
    for (const Plane& plane : plan.packs[i]->encoding.planes(type.dtype, type.shape))
      wanted += static_cast<double>(plane.bytes());
    wanted += static_cast<double>(plan.packs[i]->scratch_bytes);
  }
  if (wanted <= kFree + (4.0 + query.threads) * values) return {};
  return cat("asks for ", wanted, " bytes beside values of ", values);
}

class Selector {
 public:
  Selector(const Graph& from, const SelectOptions& options)
      : from_(from), options_(options), out_{Graph(from.ops()), {}, {}}, fixed_(from) {
    verbose_ = environment_lists("TESSERA_VERBOSE", "select");
  }

  Selection run() {
    GraphMap map(from_);
    const std::vector<bool> live = live_nodes(from_);
    const std::vector<std::string_view> wanted = ask_readers(live);
    for (const Node& node : from_.nodes()) {
      if (!live[static_cast<std::size_t>(node.id())]) continue;
      std::vector<Value> inputs;
      for (const Value v : node.inputs()) inputs.push_back(map[v]);
      wanted_ = wanted[static_cast<std::size_t>(node.id())];
      map.set(node, place(node, std::move(inputs)));
    }
    wanted_ = {};
    for (const auto& output : from_.outputs()) make_dense(output.second, map);
    for (const auto& update : from_.updates()) make_dense(update.second, map);
    copy_roots(out_.graph, from_, map);
    return std::move(out_);
  }

 private:
  // For every node the layout that all its readers want; results leave the graph dense.
  std::vector<std::string_view> ask_readers(const std::vector<bool>& live) {
    std::vector<std::optional<std::string_view>> wanted(from_.nodes().size());
    FixedNodes fixed(from_);
    const auto say = [&](Value v, std::string_view layout) {
      auto& known = wanted[static_cast<std::size_t>(v.node->id())];
      known = known && *known != layout ? std::string_view() : layout;
    };
    for (const auto& output : from_.outputs()) say(output.second, {});
    for (const auto& update : from_.updates()) say(update.second, {});
    for (auto node = from_.nodes().rbegin(); node != from_.nodes().rend(); ++node) {
      const auto id = static_cast<std::size_t>(node->id());
      if (!live[id]) continue;
      const Flags flags = fixed_operands(*node, fixed);
      const KernelQuery query = query_of(*node, flags, wanted[id].value_or(std::string_view()));
      for (std::size_t i = 0; i < node->inputs().size(); ++i) {
        const Value v = node->inputs()[i];
        if (!v) continue;
        const bool asks = node->op().wants != nullptr && is_computed(*node);
        say(v, asks ? node->op().wants(query, static_cast<int>(i)) : std::string_view());
      }
    }
    std::vector<std::string_view> out;
    for (const auto& layout : wanted) out.push_back(layout.value_or(std::string_view()));
    return out;
  }

  std::vector<Value> place(const Node& old, std::vector<Value> inputs) {
    std::vector<Value> outputs = copy_node(out_.graph, old, inputs);
    const Node& node = *outputs[0].node;
    if (node.op().has(kView)) {
      // A view of codebook storage is a view of its planes; a reshape needs the elements.
      const Node* dense = with_decoded(node, Decode::all);
      return dense ? outputs_of(*dense) : outputs;
    }
    if (!is_computed(node)) return outputs;
    if (out_.kernels.contains(&node)) return outputs;
    if (const auto known = replaced_.find(&node); known != replaced_.end()) return known->second;
    if (&node.op() == from_.ops().core().decode)
      note_decode(node, cat(node.op().name, " ", Quoted{node.name()}));
    note_written_out(node);
    std::vector<Value> placed = choose(node);
    if (placed[0].node != &node) replaced_[&node] = placed;
    return placed;
  }

  std::vector<Value> choose(const Node& node) {
    std::vector<std::string> refusals;
    std::vector<Value> inputs(node.inputs().begin(), node.inputs().end());
    // An operand that no row of the op reads as codebook storage is decoded first; one that some
    // row may read, only when they all refuse.
    if (const Node* dense = with_decoded(node, Decode::unread)) return choose(*dense);
    if (auto found = choose_row(node, refusals))
      return with_packs(node, *found, std::move(refusals));
    // Better an image out of its layout than a weight out of its codebook.
    if (const Node* dense = with_decoded(node, Decode::images)) return choose(*dense);
    if (const Node* dense = with_decoded(node, Decode::all)) return choose(*dense);
    if (node.op().decompose != nullptr) {
      wanted_ = {};  // by readers of the whole
      std::vector<Value> parts = node.op().decompose(node, inputs);
      std::vector<Value> outputs;
      for (const Value part : parts) outputs.push_back(select_tree(part));
      return outputs;
    }
    std::string reasons;
    for (const auto& reason : refusals) reasons += "; " + reason;
    fail("[", node.op().name, "] no kernel for ", Quoted{node.name()}, " of type ",
         node.types()[0].text(), reasons);
  }

  enum class Decode {
    unread,  // what no row of the op reads as it is kept
    images,  // and images in a layout
    all,     // and codebook storage
  };
  // The node on decoded operands, or nullptr when there is none to decode.
  const Node* with_decoded(const Node& node, Decode which) {
    if (node.op().has(kStorage)) return nullptr;
    std::vector<Value> inputs(node.inputs().begin(), node.inputs().end());
    bool changed = false;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i] || inputs[i].type().encoding.is_dense()) continue;
      const InputDef& def = node.op().input_def(i);
      const bool stored = inputs[i].type().encoding.is_codebook();
      const bool read = stored ? def.encoded : def.image;
      if (read && (which == Decode::unread || (which == Decode::images && stored))) continue;
      inputs[i] = decode(node, inputs[i]);
      changed = true;
    }
    if (!changed) return nullptr;
    return &out_.graph.add(node.op(), std::move(inputs), node.attrs(), node.name());
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
    const Node& node = out_.graph.add(*op, {v}, {}, v.node->name());
    note_decode(node, cat(consumer.op().name, " ", Quoted{consumer.name()}));
    return place_added(node)[0];
  }

  // Results leave the graph dense.
  void make_dense(Value old, GraphMap& map) {
    const Value v = map[old];
    if (v.type().encoding.packed_layout().empty()) return;
    std::vector<Value> values;
    for (int i = 0; i < static_cast<int>(old.node->types().size()); ++i)
      values.push_back(map[old.node->output(i)]);
    values[static_cast<std::size_t>(old.index)] = decode(*v.node, v);
    map.set(*old.node, std::move(values));
  }

  // Once per decoded tensor, also where the graph itself asks for it.
  void note_decode(const Node& node, const std::string& consumer) {
    if (out_.kernels.contains(&node)) return;
    if (!node.input(0).type().encoding.is_codebook()) return;
    const TensorType& type = node.input(0).type();
    const std::string what =
        cat(consumer, ": ", type.text(), " ", Quoted{node.input(0).node->name()},
            " decoded whole, ", type.shape.numel() * size_of(type.dtype), " bytes");
    check(!options_.packed_only, "--packed-only: ", what);
    out_.decoded.push_back(what);
  }
  // Planes of another kind than codebooks that become a dense value, such as those of `sparse`.
  void note_written_out(const Node& node) {
    const CoreOps& core = from_.ops().core();
    if (!node.op().has(kStorage) || &node.op() == core.decode || &node.op() == core.repack) return;
    const TensorType& type = node.types()[0];
    const std::string what =
        cat(node.op().name, " ", Quoted{node.input(0).node->name()}, ": ", type.text(),
            " written out dense, ", type.shape.numel() * size_of(type.dtype), " bytes");
    check(!options_.packed_only, "--packed-only: ", what);
    out_.decoded.push_back(what);
  }
  std::vector<Value> place_added(const Node& node) {
    if (out_.kernels.contains(&node)) return {node.output()};
    return choose(node);
  }

  using Flags = std::vector<char>;
  static Flags fixed_operands(const Node& node, FixedNodes& fixed) {
    Flags flags;
    for (const Value v : node.inputs()) flags.push_back(v && fixed(*v.node));
    return flags;
  }
  KernelQuery query_of(const Node& node, const Flags& flags, std::string_view wanted) const {
    return {node,
            options_.features,
            threads_for(node, options_.threads, options_.int8),
            std::span<const bool>(reinterpret_cast<const bool*>(flags.data()), flags.size()),
            options_.bf16,
            options_.int8,
            options_.communicator,
            wanted};
  }
  std::optional<RowCandidate> choose_row(const Node& node, std::vector<std::string>& refusals) {
    const Flags flags = fixed_operands(node, fixed_);
    const KernelQuery query = query_of(node, flags, wanted_);
    const ThreadScope scope(query.threads);  // kernels are made for it
    std::vector<RowCandidate> serve;
    for (const KernelRow& row : node.op().rows) {
      const std::string missing = missing_features(options_.features, row.needs);
      std::string reason = missing.empty() ? row.refuses(query) : "needs " + missing;
      if (reason.empty()) {
        KernelPlan plan = row.prepare(query);
        reason = refuses_memory(query, plan);
        if (reason.empty()) {
          serve.push_back({&row, std::move(plan)});
          if (options_.choice == nullptr) break;
          continue;
        }
      }
      if (serve.empty()) refusals.push_back(cat(row.name, ": ", reason));
    }
    if (serve.empty()) return std::nullopt;
    if (options_.choice == nullptr) return std::move(serve.front());
    const std::size_t chosen = options_.choice->choose(query, serve);
    TESSERA_ASSERT(chosen < serve.size());
    for (std::size_t i = 0; i < chosen; ++i)
      refusals.push_back(cat(serve[i].row->name, ": ", serve[chosen].row->name, " was chosen"));
    return std::move(serve[chosen]);
  }

  std::vector<Value> with_packs(const Node& node, RowCandidate& found,
                                std::vector<std::string> refusals) {
    std::vector<Value> inputs(node.inputs().begin(), node.inputs().end());
    bool changed = false;
    auto& packs = found.plan.packs;
    for (std::size_t i = 0; i < packs.size() && i < inputs.size(); ++i) {
      if (!packs[i]) continue;
      inputs[i] = repack(inputs[i], *packs[i]);
      changed = true;
    }
    Attrs attrs = node.attrs();
    if (!found.plan.layout.empty()) {
      attrs.set("layout", found.plan.layout);
      changed = true;
    }
    const Node* target = &node;
    if (changed)
      target = &out_.graph.add(node.op(), std::move(inputs), std::move(attrs), node.name());
    if (verbose_) report(*target, found, refusals);
    out_.kernels[target] = {std::string(found.row->name), std::move(found.plan),
                            std::move(refusals),
                            threads_for(node, options_.threads, options_.int8)};
    return outputs_of(*target);
  }

  static std::vector<Value> outputs_of(const Node& node) {
    std::vector<Value> outputs;
    for (int i = 0; i < static_cast<int>(node.types().size()); ++i)
      outputs.push_back(node.output(i));
    return outputs;
  }

  Value repack(Value v, const OperandPack& pack) {
    const OpDef* op = from_.ops().core().repack;
    TESSERA_ASSERT(op != nullptr);
    const std::vector<Plane> planes = pack.encoding.planes(v.type().dtype, v.shape());
    const Node& node = out_.graph.add(
        *op, {v},
        {{"layout", std::string(pack.encoding.packed_layout())}, {"bytes", planes[0].bytes()}},
        v.node->name());
    TESSERA_ASSERT(node.types()[0].encoding == pack.encoding);
    KernelPlan plan{.run = pack.pack, .scratch_bytes = pack.scratch_bytes};
    out_.kernels.try_emplace(
        &node,
        Selected{
            cat("pack ", pack.encoding.packed_layout()), std::move(plan), {}, options_.threads});
    return node.output();
  }

  void report(const Node& node, const RowCandidate& found,
              const std::vector<std::string>& refusals) const {
    std::cerr << "select: " << node.op().name << " '" << node.name() << "' "
              << node.types()[0].text() << ": " << found.row->name;
    for (const auto& reason : refusals) std::cerr << "\n  refused " << reason;
    std::cerr << "\n";
  }

  const Graph& from_;
  const SelectOptions& options_;
  Selection out_;
  FixedNodes fixed_;
  std::string_view wanted_;  // of the node that is being placed
  std::map<const Node*, std::vector<Value>> replaced_;
  bool verbose_ = false;
};

}  // namespace

Selection select_kernels(const Graph& graph, const SelectOptions& options) {
  return Selector(graph, options).run();
}

FixedNodes::FixedNodes(const Graph& graph) {
  for (const auto& update : graph.updates()) updated_.insert(update.first.node->name());
}

bool FixedNodes::operator()(const Node& node) {
  // In order: chains are as long as a file likes.
  for (std::size_t i = known_.size(); i <= static_cast<std::size_t>(node.id()); ++i) {
    const Node& next = node.graph().nodes()[i];
    // Random ops too: they are functions of (seed, step, id).
    bool fixed = &next.op() != &kInput && !next.op().has(kCommunicates) &&
                 (!next.op().has(kLeaf) || !updated_.contains(next.name()));
    for (const Value v : next.inputs())
      fixed = fixed && (!v || known_[static_cast<std::size_t>(v.node->id())]);
    known_.push_back(fixed);
  }
  return known_[static_cast<std::size_t>(node.id())];
}

}  // namespace tessera
