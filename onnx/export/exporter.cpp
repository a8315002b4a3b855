#include "onnx/export/exporter.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "core/words.h"
#include "ops/codebook/codebook.h"

namespace tessera::onnx {

namespace {

// What ONNX's own operators had in these versions is all that is used.
constexpr std::int64_t kDenseOpset = 17, kPackedOpset = 21, kTwoBitOpset = 25;
constexpr std::int64_t kDenseIr = 8, kPackedIr = 10, kTwoBitIr = 12;

ElementType type_of(DType dtype) {
  switch (dtype) {
    case DType::s8:
      return ElementType::s8;
    case DType::u8:
      return ElementType::u8;
    case DType::s32:
      return ElementType::s32;
    case DType::s64:
      return ElementType::s64;
    case DType::bf16:
      return ElementType::bf16;
    default:
      return ElementType::f32;
  }
}

// The least version that has what the model's codebooks need.
std::int64_t opset_for(const Model& model, const ExportOptions& options) {
  std::int64_t out = kDenseOpset;
  if (options.dense) return out;
  for (const Node& node : model.graph.nodes()) {
    if (&node.op() != &kCodebook) continue;
    int bits = affine_of(model.state.get(node.input(1).node->name())).bits;
    if (bits == 0) bits = fitted_bits(*node.types()[0].encoding.codebook_format(), options);
    out = std::max(out, bits == 2 ? kTwoBitOpset : kPackedOpset);
  }
  return out;
}

}  // namespace

Exporter::Exporter(const Model& model, const ExportOptions& options)
    : model_(model),
      options_(options),
      graph_(clone(model.graph)),
      writer_(opset_for(model, options)) {
  check(graph_.updates().empty(), "expected an inference graph, got ", graph_.updates().size(),
        " updates of states");
}

std::string Exporter::name(Value value) {
  const auto found = names_.find({value.node, value.index});
  check(found != names_.end(), "a value of ", value.node->op().name, " is not there");
  return found->second;
}

int Exporter::uses(Value value) const {
  const auto found = uses_.find({value.node, value.index});
  return found == uses_.end() ? 0 : found->second;
}

bool Exporter::is_leaf(Value value) const {
  return value && (&value.node->op() == &kParam || &value.node->op() == &kState);
}

const Tensor& Exporter::tensor(Value value) const {
  check(is_leaf(value), "expected a param or state");
  return model_.state.get(value.node->name());
}

const Node* Exporter::codebook(Value value) const {
  return value && &value.node->op() == &kCodebook ? value.node : nullptr;
}

std::string Exporter::reshape_to(const Shape& shape) {
  Ints dims;
  for (const Dim dim : shape.dims()) dims.push_back(dim.is_symbolic() ? -1 : dim.value());
  return writer_.ints(dims);
}

std::string Exporter::shape_at_run_time(const Shape& shape) {
  if (!shape.is_symbolic()) return writer_.ints(shape.values());
  if (batch_.empty()) {
    for (const Node* input : graph_.inputs()) {
      const Shape& own = input->types()[0].shape;
      for (int axis = 0; axis < own.rank() && batch_.empty(); ++axis) {
        if (own[axis] != kBatch) continue;
        const std::string dims = writer_.node("Shape", {input->name()});
        batch_ = writer_.node("Slice", {dims, writer_.ints({axis}), writer_.ints({axis + 1})});
      }
    }
    check(!batch_.empty(), "no input says how large the batch is");
  }
  std::vector<std::string> parts;
  for (const Dim dim : shape.dims()) {
    if (!dim.is_symbolic()) {
      parts.push_back(writer_.ints({dim.value()}));
    } else {
      parts.push_back(
          dim.factor() == 1 ? batch_ : writer_.node("Mul", {batch_, writer_.ints({dim.factor()})}));
    }
  }
  return writer_.node("Concat", parts, AttributeWriter().integer("axis", 0));
}

void Exporter::leaf(const Node& node) {
  const TensorType& type = node.types()[0];
  if (&node.op() == &kInput) {
    writer_.input(node.name(), type_of(type.dtype), type.shape);
    return set(node.output(), node.name());
  }
  if (&node.op() == &kConstant) return;  // written when it is read
  // Written when it is read as it stands. An output may have the same name.
  const auto same = [&](const auto& output) { return output.first == node.name(); };
  const bool taken = std::ranges::any_of(graph_.outputs(), same);
  set(node.output(), taken ? writer_.unique(node.name()) : node.name());
}

std::string Exporter::constant(const Node& node) {
  const TensorType& type = node.types()[0];
  const double value = constant_value(node.output()).value_or(0);
  std::string number;
  if (type.dtype == DType::f32) {
    number = writer_.real(value);
  } else {
    Tensor one(type.dtype, {});
    set_element(one, 0, value);
    number = writer_.unique("number");
    writer_.tensor(
        number, type_of(type.dtype), {},
        {reinterpret_cast<const char*>(one.data()), static_cast<std::size_t>(one.bytes())});
  }
  if (type.shape.rank() > 0)
    number = writer_.node("Expand", {number, shape_at_run_time(type.shape)});
  set(node.output(), number);
  return number;
}

Exported Exporter::run() {
  for (const Node& node : graph_.nodes()) {
    if (!node.name().empty() &&
        (&node.op() == &kInput || &node.op() == &kParam || &node.op() == &kState))
      writer_.reserve(node.name());
    for (const Value v : node.inputs()) {
      if (v) ++uses_[{v.node, v.index}];
    }
  }
  for (const auto& [name, value] : graph_.outputs()) {
    writer_.reserve(name);
    ++uses_[{value.node, value.index}];
  }
  // Last nodes first, so that what becomes one operator is seen before its parts.
  std::set<const Node*> joint;
  for (auto node = graph_.nodes().rbegin(); node != graph_.nodes().rend(); ++node)
    if (!skipped_.contains(&*node) && is_joint(*this, *node)) joint.insert(&*node);
  std::map<std::string, int> unknown;
  for (const Node& node : graph_.nodes()) {
    const bool read = node.op().has(kLeaf) || codebook(node.output()) != nullptr ||
                      skipped_.contains(&node) || joint.contains(&node);
    if (!read && !knows(node)) ++unknown[std::string(node.op().name)];
  }
  std::vector<std::string> words;
  for (const auto& [op, n] : unknown) words.push_back(cat(n, " ", op));
  check(words.empty(), "ONNX has nothing for these operators: ", listed(words));
  for (const Node& node : graph_.nodes()) {
    if (skipped_.contains(&node)) continue;
    if (node.op().has(kLeaf)) {
      leaf(node);
    } else if (codebook(node.output()) != nullptr) {
      continue;  // by whoever reads it
    } else if (joint.contains(&node)) {
      write_joint(*this, node);
    } else {
      write_node(*this, node);
    }
  }
  for (const auto& [name, value] : graph_.outputs()) {
    writer_.node("Identity", {operand(value)}, {}, name);
    writer_.output(name, type_of(value.type().dtype), value.shape());
  }
  std::string states;
  for (const Node* leaf : graph_.states()) {
    if (&leaf->op() == &kState) states += name(leaf->output()) + "\n";
  }
  if (!states.empty()) writer_.metadata(kStatesKey, states);
  const std::int64_t opset = writer_.opset();
  result_.opset = opset;
  result_.bytes = writer_.finish(opset == kDenseOpset    ? kDenseIr
                                 : opset == kPackedOpset ? kPackedIr
                                                         : kTwoBitIr);
  return std::move(result_);
}

// A value as an operand: params and codebooks are written when they are first read.
std::string Exporter::operand(Value value) {
  if (codebook(value) != nullptr) return weight(value);
  if (&value.node->op() == &kConstant && !names_.contains({value.node, value.index}))
    return constant(*value.node);
  if (is_leaf(value) && written_.insert(value.node).second) {
    const Tensor& data = tensor(value);
    writer_.tensor(
        name(value), type_of(data.dtype()), data.shape().values(),
        {reinterpret_cast<const char*>(data.data()), static_cast<std::size_t>(data.bytes())});
  }
  return name(value);
}

Exported export_model(const Model& model, const ExportOptions& options) {
  return Exporter(model, options).run();
}

}  // namespace tessera::onnx
