#include "onnx/import/importer.h"

#include <algorithm>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/sha256.h"
#include "core/memory_rule.h"
#include "core/text.h"
#include "core/words.h"
#include "ops/build.h"

namespace tessera::onnx {

namespace {

constexpr std::size_t kMostNames = 4;        // of the nodes of one problem
constexpr std::int64_t kNewestOpset = 25;    // whose operators these converters know
constexpr std::size_t kMostNodes = 1 << 20;  // of the graph that is built

std::vector<OpRow> all_rows() {
  std::vector<OpRow> out;
  for (const auto rows : {elementwise_rows(), constant_rows(), movement_rows(), image_rows(),
                          product_rows(), reduce_rows(), recurrent_rows(), quantized_rows()})
    out.insert(out.end(), rows.begin(), rows.end());
  std::ranges::sort(out, {}, &OpRow::op);
  return out;
}

const OpRow* find_row(const NodeProto& node) {
  static const std::vector<OpRow> rows = all_rows();
  if (!node.domain.empty()) return nullptr;
  const auto found = std::ranges::lower_bound(rows, node.op, {}, &OpRow::op);
  return found != rows.end() && found->op == node.op ? &*found : nullptr;
}

DType dtype_of_input(ElementType type) {
  switch (type) {
    case ElementType::boolean:
    case ElementType::u8:
      return DType::u8;
    case ElementType::s8:
      return DType::s8;
    case ElementType::s32:
      return DType::s32;
    case ElementType::s64:
      return DType::s64;
    default:
      check(is_float(type), "inputs of ", name(type), " cannot be read");
      return DType::f32;
  }
}

std::string label(const NodeProto& node) {
  if (!node.name.empty()) return quote(node.name);
  return quote(node.outputs.empty() ? std::string_view() : node.outputs.front());
}

}  // namespace

Importer::Importer(const ModelProto& proto, const std::filesystem::path& file, std::int64_t bytes,
                   const ImportOptions& options)
    : proto_(proto),
      file_(file),
      options_(options),
      out_{{Graph(ops::standard_ops()), {}}, {}, {}, {}},
      stored_(bytes) {
  // What such a file asks for is bounded as a model file's graph is.
  out_.model.graph.set_source(file.string());
}

std::string Importer::renamed(std::string_view name) const {
  const auto found = options_.renamed.find(std::string(name));
  return found == options_.renamed.end() ? std::string(name) : found->second;
}

void Importer::charge(std::int64_t bytes) {
  taken_ += bytes;
  require_memory(taken_, stored_, file_.string() + ": what its graph is made into takes");
}

void Importer::problem(const NodeProto& node, const std::string& why) {
  problems_[{std::string(node.op), why}].push_back(label(node));
}

void Importer::fail_problems() const {
  std::size_t count = 0;
  std::string text;
  for (const auto& [what, nodes] : problems_) {
    count += nodes.size();
    std::vector<std::string> shown(
        nodes.begin(),
        nodes.begin() + static_cast<std::ptrdiff_t>(std::min(kMostNames, nodes.size())));
    if (nodes.size() > kMostNames) shown.push_back(cat(nodes.size() - kMostNames, " more"));
    text += cat(text.empty() ? "" : "; ", nodes.size(), " ", printable(what.first), " (",
                listed(shown), "): ", what.second);
  }
  fail(file_.string(), ": ", count, " of ", node_count_, " nodes cannot be imported: ", text);
}

void Importer::read_initializers() {
  std::set<std::string_view> states;
  if (const auto found = proto_.metadata.find(kStatesKey); found != proto_.metadata.end()) {
    for (std::string_view rest = found->second; !rest.empty();) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      states.insert(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  for (const TensorProto& proto : proto_.graph.initializers) {
    Item item{.type = proto.type, .name = std::string(proto.name)};
    item.initializer = !states.contains(proto.name);
    const std::string where = cat("initializer ", quote(proto.name), ": ");
    check(!proto.name.empty(), "an initializer has no name");
    try {
      item.tensor = read_tensor(proto, file_.parent_path());
    } catch (const Error& e) {
      fail(where, e.what());
    }
    // What other files hold is there, and has just been read.
    if (!proto.external.empty()) stored_ += item.tensor.bytes();
    charge(item.tensor.bytes());
    item.kind = Item::Kind::tensor;
    if (is_float(proto.type) && proto.type != ElementType::f32)
      notes_.insert(cat("weights of ", name(proto.type), " are f32 here"));
    check(items_.emplace(proto.name, std::move(item)).second, where, "it is there twice");
  }
}

void Importer::choose_batch() {
  for (const bool first_axis : {true, false}) {
    for (const ValueProto& input : proto_.graph.inputs) {
      if (batch_ || !input.shape || items_.contains(input.name)) continue;
      if (options_.values.contains(std::string(input.name))) continue;
      const std::size_t axes =
          first_axis ? std::min<std::size_t>(1, input.shape->size()) : input.shape->size();
      for (std::size_t i = 0; i < axes && !batch_; ++i) {
        const DimProto& dim = (*input.shape)[i];
        if (!dim.value && !options_.sizes.contains(std::string(dim.symbol))) batch_ = dim.symbol;
      }
    }
  }
}

Shape Importer::input_shape(const ValueProto& value) {
  check(value.shape.has_value(), "its shape is not known");
  Shape out;
  bool symbolic = false;
  check(!options_.any_batch || !value.shape->empty(), "a number has no batch");
  check(value.shape->size() <= kMaxRank, "more than ", kMaxRank, " dimensions");
  for (std::size_t i = 0; i < value.shape->size(); ++i) {
    const DimProto& dim = (*value.shape)[i];
    const auto size = options_.sizes.find(std::string(dim.symbol));
    if (i == 0 && options_.any_batch) {
      check(fixed_batch_ == 0 || !dim.value || *dim.value == fixed_batch_,
            "another batch than other inputs, ", dim.value.value_or(0));
      if (dim.value) fixed_batch_ = *dim.value;
      check(!dim.value || *dim.value >= 1, "a batch of ", dim.value.value_or(0));
      out.push_back(kBatch);
      symbolic = true;
    } else if (dim.value) {
      check(*dim.value >= 0 && *dim.value <= kMaxDim, "a dimension of ", *dim.value,
            " is out of range");
      out.push_back(*dim.value);
    } else if (!dim.symbol.empty() && size != options_.sizes.end()) {
      check(size->second >= 1 && size->second <= kMaxDim, "a dimension of ", size->second,
            " is out of range");
      out.push_back(size->second);
    } else if (batch_ && dim.symbol == *batch_ && !symbolic) {
      out.push_back(kBatch);
      symbolic = true;
    } else {
      fail("dimension ", i, ", ", quote(dim.symbol),
           ", is neither a number nor the batch; --size SYMBOL=N gives it one");
    }
  }
  check_size(out);
  return out;
}

void Importer::read_inputs() {
  choose_batch();
  for (const ValueProto& input : proto_.graph.inputs) {
    check(!input.name.empty(), "an input has no name");
    if (items_.contains(input.name)) continue;  // older files list initializers, too
    Item item{.type = input.type, .name = std::string(input.name)};
    const std::string where = cat("input ", quote(input.name), ": ");
    if (const auto known = options_.values.find(item.name); known != options_.values.end()) {
      item.kind = Item::Kind::tensor;
      item.tensor = known->second;
      items_.emplace(input.name, std::move(item));
      continue;
    }
    try {
      check(input.is_tensor, "expected a tensor");
      const TensorType type{dtype_of_input(input.type), input_shape(input), {}};
      item.value = out_.model.graph.input(renamed(input.name), type);
    } catch (const Error& e) {
      fail(where, e.what());
    }
    item.kind = Item::Kind::value;
    if (is_float(input.type) && input.type != ElementType::f32)
      notes_.insert(cat("inputs of ", name(input.type), " are f32 here"));
    if (input.type == ElementType::boolean) item.value = ops::cast(item.value, DType::f32);
    items_.emplace(input.name, std::move(item));
  }
}

void Importer::check_options() const {
  const auto& graph = proto_.graph;
  for (const auto& [name, value] : options_.renamed) {
    const auto is = [&](const ValueProto& v) { return v.name == name; };
    check(std::ranges::any_of(graph.inputs, is) || std::ranges::any_of(graph.outputs, is),
          "no input or output is called ", quote(name));
  }
  for (const auto& [symbol, size] : options_.sizes) {
    const auto has = [&](const ValueProto& v) {
      return v.shape && std::ranges::any_of(*v.shape, [&](const DimProto& dim) {
               return !dim.value && dim.symbol == symbol;
             });
    };
    check(std::ranges::any_of(graph.inputs, has), "no input has the symbolic dimension ",
          quote(symbol));
  }
}

void Importer::read_node(const NodeProto& node) {
  const auto mark_failed = [&] {
    for (const std::string_view name : node.outputs) {
      if (!name.empty()) items_.insert_or_assign(name, Item{.kind = Item::Kind::failed});
    }
  };
  const OpRow* row = find_row(node);
  bool reachable = true;  // all of its operands could be read
  for (const std::string_view name : node.inputs) {
    const auto found = items_.find(name);
    if (found != items_.end() && found->second.kind == Item::Kind::failed) reachable = false;
  }
  if (row == nullptr) {
    problem(node, node.domain.empty() ? "unknown operator"
                                      : cat("unknown operator of the domain ", quote(node.domain)));
    return mark_failed();
  }
  if (!reachable) return mark_failed();
  try {
    check(!node.outputs.empty(), "expected a result");
    for (const std::string_view name : node.outputs)
      check(name.empty() || !items_.contains(name), "its result ", quote(name),
            " is there already");
    Context context(*this, node);
    row->convert(context);
    context.require_all_read();
    check(out_.model.graph.nodes().size() <= kMostNodes, "the graph has more than ", kMostNodes,
          " nodes");
  } catch (const Error& e) {
    problem(node, e.what());
    mark_failed();
  }
}

void Importer::write_outputs() {
  Graph& graph = out_.model.graph;
  check(!proto_.graph.outputs.empty(), "the graph has no outputs");
  std::set<std::string> names;
  for (const ValueProto& output : proto_.graph.outputs) {
    const std::string where = cat("output ", quote(output.name), ": ");
    const auto found = items_.find(output.name);
    check(found != items_.end(), where, "nothing makes it");
    Item& item = found->second;
    if (item.kind == Item::Kind::failed) continue;
    try {
      check(names.insert(renamed(output.name)).second, "it is there twice");
      NodeProto reads_it;
      reads_it.inputs = {output.name};
      Context context(*this, reads_it);
      Value value =
          item.is_constant() && !is_float(item.type) ? context.integers(0) : context.any(0);
      if (item.type == ElementType::boolean && value.type().dtype == DType::f32)
        value = ops::cast(value, DType::u8);
      graph.set_output(renamed(output.name), value);
    } catch (const Error& e) {
      fail(where, e.what());
    }
  }
}

Imported Importer::run() {
  const auto opset = proto_.opsets.find("");
  check(opset != proto_.opsets.end(), "it names no version of ONNX's operators");
  opset_ = opset->second;
  check(opset_ >= 1 && opset_ <= kNewestOpset, "operators of version ", opset_, ", expected 1 to ",
        kNewestOpset);
  check(!proto_.graph.sparse_initializers, "sparse initializers cannot be read");
  check_options();
  node_count_ = proto_.graph.nodes.size();
  read_initializers();
  read_inputs();
  for (const NodeProto& node : proto_.graph.nodes) {
    ++out_.ops[std::string(node.op)];
    read_node(node);
  }
  if (!problems_.empty()) fail_problems();
  write_outputs();
  for (const std::string& name : pack_weights(out_.model, packed_))
    notes_.insert(
        cat("weight ", quote(name), " is f32 here: an operator that reads it needs that"));
  out_.notes.assign(notes_.begin(), notes_.end());
  // Initializers that nothing reads any more stay behind.
  Graph live = clone(out_.model.graph);
  State kept;
  for (const Node* leaf : live.states()) kept.set(leaf->name(), out_.model.state.get(leaf->name()));
  out_.model.graph = std::move(live);
  out_.model.state = std::move(kept);
  return std::move(out_);
}

Imported import_model(const std::filesystem::path& file, const ImportOptions& options) {
  const std::string bytes = read_file(file);
  const ModelProto proto = parse_model(bytes, file.string());
  try {
    Imported out = Importer(proto, file, static_cast<std::int64_t>(bytes.size()), options).run();
    out.sha256 = sha256_hex(bytes);
    return out;
  } catch (const Error& e) {
    const std::string what = e.what();
    throw Error(what.starts_with(file.string()) ? what : cat(file.string(), ": ", what));
  }
}

std::vector<std::string> imported_ops() {
  std::vector<std::string> out;
  for (const OpRow& row : all_rows()) out.emplace_back(row.op);
  return out;
}

}  // namespace tessera::onnx
