#include "onnx/import/context.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/text.h"
#include "onnx/import/importer.h"
#include "ops/build.h"

namespace tessera::onnx {

namespace {

Small small_of(const Tensor& tensor, ElementType type) {
  check(tensor.numel() <= kMostSmall, "shape arithmetic on ", tensor.numel(),
        " numbers, more than ", kMostSmall);
  Small out{.type = type, .shape = tensor.shape().values()};
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    if (is_float(type)) {
      out.reals.push_back(element(tensor, i));
    } else if (tensor.dtype() == DType::s64) {  // exactly
      out.ints.emplace_back(tensor.span<std::int64_t>()[static_cast<std::size_t>(i)]);
    } else {
      out.ints.emplace_back(static_cast<std::int64_t>(element(tensor, i)));
    }
  }
  return out;
}

Tensor tensor_of(const Small& small) {
  const Shape shape = Shape::of(small.shape);
  if (is_float(small.type)) {
    Tensor out(DType::f32, shape);
    for (std::size_t i = 0; i < small.size(); ++i)
      out.span<float>()[i] = static_cast<float>(small.reals[i]);
    return out;
  }
  Tensor out(DType::s64, shape);
  for (std::size_t i = 0; i < small.size(); ++i) out.span<std::int64_t>()[i] = small.integer(i);
  return out;
}

// The value that all elements have.
std::optional<double> uniform_value(const Tensor& tensor) {
  if (tensor.numel() == 0) return std::nullopt;
  const double first = element(tensor, 0);
  for (std::int64_t i = 1; i < tensor.numel(); ++i) {
    if (element(tensor, i) != first) return std::nullopt;
  }
  return first;
}

Shape swapped(const Shape& shape) {
  check(shape.rank() == 2, "expected a matrix, got ", shape.text());
  return {shape[1], shape[0]};
}

Tensor transposed(const Tensor& tensor) {
  Tensor out(tensor.dtype(), swapped(tensor.shape()));
  const std::int64_t rows = tensor.shape()[0].value(), columns = tensor.shape()[1].value();
  const auto in = tensor.span<float>();
  const auto to = out.span<float>();
  constexpr std::int64_t kTile = 32;
  for (std::int64_t r0 = 0; r0 < rows; r0 += kTile) {
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t r = r0; r < std::min(rows, r0 + kTile); ++r)
        to[static_cast<std::size_t>(c * rows + r)] = in[static_cast<std::size_t>(r * columns + c)];
    }
  }
  return out;
}

}  // namespace

double Small::real(std::size_t i) const {
  return is_float(type) ? reals.at(i) : static_cast<double>(integer(i));
}

std::int64_t Small::integer(std::size_t i) const {
  if (is_float(type)) return static_cast<std::int64_t>(reals.at(i));
  check(!ints.at(i).is_symbolic(), "a number depends on the batch: ", ints[i].text());
  return ints[i].factor();
}

Shape Item::shape() const {
  switch (kind) {
    case Kind::value:
      return value.shape();
    case Kind::tensor:
      return tensor.shape();
    case Kind::small:
      return Shape::of(small.shape);
    case Kind::quantized:
      return quantized->values.shape();
    default:
      return {};
  }
}

Context::Context(Importer& importer, const NodeProto& given) : node(given), importer_(importer) {
  for (const std::string_view name : node.inputs) {
    if (name.empty()) {
      items_.push_back(nullptr);
      continue;
    }
    const auto found = importer.items_.find(name);
    check(found != importer.items_.end(), "nothing before it makes its operand ", quote(name));
    items_.push_back(&found->second);
  }
}

Graph& Context::graph() const {
  return importer_.out_.model.graph;
}
std::int64_t Context::opset() const {
  return importer_.opset_;
}
std::int64_t Context::fixed_batch() const {
  return importer_.fixed_batch_;
}
bool Context::has(std::size_t i) const {
  return i < items_.size() && items_[i] != nullptr;
}
const Item& Context::in(std::size_t i) const {
  check(has(i), "operand ", i, " is missing");
  return *items_[i];
}
void Context::note(const std::string& text) {
  importer_.notes_.insert(text);
}

bool Context::known(std::size_t i) const {
  const Item& item = in(i);
  if (item.kind != Item::Kind::tensor) return item.kind == Item::Kind::small;
  return item.tensor.numel() <= kMostSmall &&
         !(item.initializer && is_float(item.type) && item.tensor.numel() > 1);
}
bool Context::all_constant() const {
  for (std::size_t i = 0; i < items_.size(); ++i) {
    if (items_[i] != nullptr && !known(i)) return false;
  }
  return true;
}
void Context::rename(std::size_t i, const std::string& name) {
  const auto found = importer_.items_.find(node.outputs[i]);
  if (found != importer_.items_.end()) found->second.name = name;
}
Value Context::constant(const Tensor& tensor, const std::string& suffix) {
  const std::string name = std::string(node.outputs.front()) + suffix;
  importer_.charge(tensor.bytes());
  importer_.out_.model.state.set(name, tensor);
  return graph().state(name, {tensor.dtype(), tensor.shape(), {}});
}
std::filesystem::path Context::folder() const {
  return importer_.file_.parent_path();
}

Value Context::leaf(const Item& item, bool trained) {
  Graph& graph = importer_.out_.model.graph;
  const Tensor tensor = item.kind == Item::Kind::small       ? tensor_of(item.small)
                        : item.kind == Item::Kind::quantized ? item.quantized->decoded()
                                                             : item.tensor;
  const TensorType type{tensor.dtype(), tensor.shape(), {}};
  const auto uniform = uniform_value(tensor);
  if (uniform && tensor.dtype() == DType::f32 && !(trained && tensor.shape().rank() > 0))
    return graph.constant(*uniform, type);
  const std::string& name = item.name;
  importer_.charge(tensor.bytes());
  const Value out = trained ? graph.param(name, type) : graph.state(name, type);
  importer_.out_.model.state.set(name, tensor);
  return out;
}

Value Context::any(std::size_t i) {
  const Item& item = in(i);
  if (item.kind == Item::Kind::value) return item.value;
  check(is_float(item.type) || item.type == ElementType::boolean ||
            item.kind == Item::Kind::quantized,
        "operand ", quote(item.name), " is a constant of ", name(item.type),
        ", which this operator reads where shapes are made only");
  if (item.type == ElementType::boolean) {
    Item reals = item;
    reals.kind = Item::Kind::tensor;
    reals.type = ElementType::f32;
    reals.tensor = tensor_of(small(i)).to(DType::f32);
    return leaf(reals, false);
  }
  if (item.initializer && item.shape().numel() > 1) return weight(i);
  return leaf(item, false);
}

Value Context::integers(std::size_t i) {
  const Item& item = in(i);
  if (item.kind == Item::Kind::value) return item.value;
  Item copy = item;
  if (item.kind == Item::Kind::small) copy.tensor = tensor_of(item.small);
  if (item.type == ElementType::boolean) copy.tensor = copy.tensor.to(DType::u8);
  copy.kind = Item::Kind::tensor;
  return leaf(copy, false);
}

Value Context::real(std::size_t i) {
  const Value out = any(i);
  check(out.type().dtype == DType::f32, "operand ", quote(in(i).name), " is ", name(in(i).type),
        " known at run time only; arithmetic on integers is for shapes");
  return out;
}

Small Context::small(std::size_t i) const {
  const Item& item = in(i);
  if (item.kind == Item::Kind::small) return item.small;
  check(item.kind == Item::Kind::tensor, "operand ", quote(item.name),
        " must be known when the graph is built; it is computed at run time");
  return small_of(item.tensor, item.type);
}

Ints Context::ints(std::size_t i) const {
  const Small numbers = small(i);
  Ints out;
  for (std::size_t j = 0; j < numbers.size(); ++j) out.push_back(numbers.integer(j));
  return out;
}

std::vector<Dim> Context::dims(std::size_t i) const {
  const Small numbers = small(i);
  check(!is_float(numbers.type), "operand ", quote(in(i).name), " is ", name(numbers.type),
        ", expected integers");
  return numbers.ints;
}

std::optional<double> Context::scalar(std::size_t i) const {
  const Item& item = in(i);
  if (!item.is_constant() || item.shape().numel() != 1) return std::nullopt;
  return small(i).real(0);
}

Value Context::weight(std::size_t i, const std::string& form, const Stored& stored,
                      const Built& built) {
  return weight_part(i, "", form, stored, built);
}

Value Context::weight_part(std::size_t i, const std::string& suffix, const std::string& form,
                           const Stored& stored, const Built& built) {
  const Item& item = in(i);
  if (item.kind == Item::Kind::value) return built(item.value);
  if (!item.initializer && item.kind != Item::Kind::quantized) return built(any(i));
  check(is_float(item.type), "operand ", quote(item.name), " is ", name(item.type),
        ", expected float");
  const std::string name = item.name + suffix;
  const auto there = importer_.leaves_.find(name);
  if (there != importer_.leaves_.end() && importer_.forms_.at(name) == form) return there->second;
  if (there != importer_.leaves_.end() && importer_.forms_.at(name).empty())
    return built(there->second);
  std::string own = name;
  if (there != importer_.leaves_.end()) {
    own += "." + (form.empty() ? "plain" : form);
    note(cat("weight ", quote(name), " is read in two ways, which are two weights here"));
  }
  const bool quantized = item.kind == Item::Kind::quantized;
  const Tensor data = stored(quantized ? item.quantized->decoded() : item.tensor);
  importer_.charge(data.bytes());
  if (quantized && !importer_.options_.dense) {
    importer_.charge(data.bytes() * 3);  // on the way
    if (auto packed = packed_weight(*item.quantized, stored)) {
      importer_.packed_.emplace(own, std::move(*packed));
    } else if (data.shape().rank() > 1) {
      note(cat("weight ", quote(name), " is f32 here: no codebook has its integers and scales"));
    }
  }
  const Value out = importer_.out_.model.graph.param(own, {DType::f32, data.shape(), {}});
  importer_.out_.model.state.set(own, data);
  importer_.leaves_.emplace(own, out);
  importer_.forms_.emplace(own, form);
  return out;
}

Value Context::weight(std::size_t i) {
  return weight(
      i, "", [](const Tensor& t) { return t; }, [](Value v) { return v; });
}

Value Context::weight_transposed(std::size_t i) {
  const auto built = [](Value v) {
    swapped(v.shape());
    if (v.node->op().name == "transpose" && v.node->attrs().integers("perm") == Ints{1, 0})
      return v.node->input(0);
    return ops::transpose(v, {1, 0});
  };
  return weight(i, "transposed", transposed, built);
}

Value Context::statistics(std::size_t i) {
  const Item& item = in(i);
  if (item.kind == Item::Kind::value) return item.value;
  const Tensor tensor = item.kind == Item::Kind::small ? tensor_of(item.small) : item.tensor;
  check(tensor.defined() && tensor.dtype() == DType::f32, "operand ", quote(item.name),
        ": expected float numbers");
  const std::string& name = item.name;
  const Node* there = graph().find_leaf(name);
  if (there != nullptr) return there->output();
  importer_.out_.model.state.set(name, tensor);
  return graph().state(name, {DType::f32, tensor.shape(), {}});
}

// ---- attributes ----

const AttributeProto* Context::find(std::string_view name) const {
  asked_.insert(name);
  return node.find(name);
}

const AttributeProto* Context::attribute(std::string_view name, AttributeProto::Kind kind) const {
  const AttributeProto* found = find(name);
  check(found == nullptr || found->kind == kind, "attribute ", quote(name),
        " is of another kind than expected");
  return found;
}

void Context::require_all_read() const {
  // They change nothing in inference, or what is kept in f32 here.
  static constexpr std::string_view kHarmless[] = {
      "momentum", "stash_type", "consumed_inputs", "is_test", "saturate", "seed", "precision"};
  for (const AttributeProto& given : node.attributes) {
    check(asked_.contains(given.name) ||
              std::ranges::find(kHarmless, given.name) != std::end(kHarmless),
          "attribute ", quote(given.name), " is not understood");
  }
}

std::int64_t Context::integer(std::string_view name, std::int64_t fallback) const {
  const auto* found = attribute(name, AttributeProto::Kind::integer);
  return found ? found->integer : fallback;
}
double Context::number(std::string_view name, double fallback) const {
  const auto* found = attribute(name, AttributeProto::Kind::real);
  return found ? static_cast<double>(found->real) : fallback;
}
std::string Context::text(std::string_view name, const std::string& fallback) const {
  const auto* found = attribute(name, AttributeProto::Kind::text);
  return found ? std::string(found->text) : fallback;
}
std::optional<Ints> Context::list(std::string_view name) const {
  const auto* found = attribute(name, AttributeProto::Kind::integers);
  return found ? std::optional(found->integers) : std::nullopt;
}
std::vector<std::string> Context::texts(std::string_view name) const {
  const auto* found = attribute(name, AttributeProto::Kind::texts);
  std::vector<std::string> out;
  if (found) out.assign(found->texts.begin(), found->texts.end());
  return out;
}
std::optional<Ints> Context::list(std::string_view name, std::size_t i) const {
  if (has(i)) return ints(i);
  return list(name);
}

// ---- results ----

void Context::out(std::size_t i, Item item) {
  if (!wants(i)) return;
  importer_.charge(static_cast<std::int64_t>(item.small.ints.size() * sizeof(Dim) +
                                             item.small.reals.size() * sizeof(double)));
  item.name = std::string(node.outputs[i]);
  importer_.items_.insert_or_assign(node.outputs[i], std::move(item));
}
void Context::out(std::size_t i, Value value, ElementType type) {
  out(i, Item{.kind = Item::Kind::value, .type = type, .value = value});
}
void Context::out(std::size_t i, Small small) {
  check(std::ssize(small.reals) <= kMostSmall && std::ssize(small.ints) <= kMostSmall,
        "shape arithmetic on more than ", kMostSmall, " numbers");
  out(i, Item{.kind = Item::Kind::small, .type = small.type, .small = std::move(small)});
}

// ---- shapes ----

int axis_of(std::int64_t axis, int rank) {
  check(axis >= -rank && axis < rank, "axis ", axis, " of a value of rank ", rank);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Ints axes_of(const Ints& axes, int rank) {
  Ints out;
  for (const std::int64_t axis : axes) out.push_back(axis_of(axis, rank));
  std::ranges::sort(out);
  check(std::ranges::adjacent_find(out) == out.end(), "an axis is named twice");
  return out;
}

Shape shape_of(const std::vector<Dim>& dims) {
  check(dims.size() <= kMaxRank, "more than ", kMaxRank, " dimensions");
  for (const Dim dim : dims) {
    check(dim.factor() >= 0 && dim.factor() <= kMaxDim, "a dimension of ", dim.factor(),
          " is out of range");
  }
  const Shape out(dims);
  check_size(out);
  return out;
}

std::vector<Dim> dims_of(const Shape& shape) {
  return shape.dims();
}

Dim joined(const Shape& shape, int begin, int end) {
  Dim out = 1;
  for (int i = begin; i < end; ++i) out = out * shape[i];
  return out;
}

Small picked(const Small& from, Ints shape, const Ints& source) {
  Small out{.type = from.type, .shape = std::move(shape)};
  for (const std::int64_t at : source) {
    const auto i = static_cast<std::size_t>(at);
    if (is_float(from.type)) {
      out.reals.push_back(from.reals.at(i));
    } else {
      out.ints.push_back(from.ints.at(i));
    }
  }
  return out;
}

}  // namespace tessera::onnx
