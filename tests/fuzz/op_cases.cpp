#include "tests/fuzz/op_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "core/autodiff.h"
#include "core/files/graph_json.h"
#include "core/graph_text.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/op_list.h"

namespace tessera::fuzz {

namespace {

struct Source {
  const OpDef* op;
  std::vector<Sample> samples;
};

const std::vector<Source>& sources() {
  static const std::vector<Source> list = [] {
    std::vector<Source> out;
    for (const OpDef* op : ops::standard_ops().all()) {
      if (op->has(kLeaf) || op->sample == nullptr) continue;
      Source source{op, {}};
      for (int i = 0; i < 24; ++i) {
        Rng rng(9, stable_id(op->name) + static_cast<std::uint64_t>(i));
        auto sample = op->sample(rng, i);
        if (!sample) break;
        source.samples.push_back(std::move(*sample));
      }
      out.push_back(std::move(source));
    }
    return out;
  }();
  return list;
}

// Sizes around vectors and blocks, then around every width of integers.
std::int64_t number(Choices& choices) {
  static constexpr std::int64_t kSmall[] = {0,  1,  2,  3,  4,  5,  7,  8,   15,  16,  17,  31,
                                            32, 33, 47, 48, 63, 64, 65, 127, 128, 255, 256, 257};
  constexpr std::int64_t k1 = 1;
  static constexpr std::int64_t kLarge[] = {-1,
                                            -2,
                                            -16,
                                            1000,
                                            4095,
                                            65535,
                                            65536,
                                            (k1 << 20) - 1,
                                            k1 << 20,
                                            (k1 << 20) + 1,
                                            k1 << 24,
                                            k1 << 29,
                                            (k1 << 31) - 1,
                                            k1 << 31,
                                            (k1 << 31) + 1,
                                            k1 << 32,
                                            k1 << 39,
                                            k1 << 40,
                                            k1 << 62,
                                            std::numeric_limits<std::int64_t>::max(),
                                            -(k1 << 31),
                                            -(k1 << 40),
                                            std::numeric_limits<std::int64_t>::min()};
  return choices.below(3) < 2 ? choices.of<std::int64_t>(kSmall) : choices.of<std::int64_t>(kLarge);
}
Dim dimension(Choices& choices) {
  const std::int64_t n = number(choices);
  return choices.one_in(12) ? Dim::symbolic(n) : Dim(n);
}

double real(Choices& choices) {
  static constexpr double kReals[] = {0,        -0.0,      1,      -1,  0.5,     1e-9,
                                      1e300,    -1e300,    5e-324, 3.5, 1 << 20, NAN,
                                      INFINITY, -INFINITY, 0.999,  2};
  return choices.of<double>(kReals);
}

// A line of elementwise ops over about `operands` values; most are well formed.
std::string program(Choices& choices, std::uint64_t operands) {
  static const std::vector<const OpDef*> elementwise = [] {
    std::vector<const OpDef*> out;
    for (const OpDef* op : ops::standard_ops().all()) {
      if (op->has(kElementwise)) out.push_back(op);
    }
    return out;
  }();
  std::string out;
  const std::uint64_t lines = choices.one_in(8) ? 1 + choices.below(200) : 1 + choices.below(6);
  for (std::uint64_t t = 0; t < lines; ++t) {
    const OpDef* op = choices.of<const OpDef*>(elementwise);
    out += cat(t ? ";" : "", "t", t, "=", op->name, "(");
    for (std::size_t i = 0; i < op->inputs.size(); ++i) {
      const std::uint64_t kind = choices.below(8);
      out += i ? "," : "";
      if (kind == 0) {
        out += attr_text(real(choices));
      } else if (kind < 4 && t > 0) {
        out += cat("t", choices.below(t));
      } else {
        out += cat("a", choices.below(operands + (choices.one_in(30) ? 2 : 0)));
      }
    }
    out += ")";
  }
  out += "->";
  const std::uint64_t results = choices.one_in(10) ? 1 + choices.below(40) : 1 + choices.below(3);
  for (std::uint64_t i = 0; i < results; ++i) out += cat(i ? ",t" : "t", choices.below(lines));
  return out;
}

std::string text(Choices& choices, std::string_view attr, std::size_t inputs) {
  static constexpr std::string_view kTexts[] = {"",     "nChw16c", "panels",           "cb4",
                                                "test", "csr",     "t0=add(a0,a0)->t0"};
  if (attr == "layout" || choices.one_in(10))
    return std::string(choices.of<std::string_view>(kTexts));
  return program(choices, inputs);
}

DType dtype(Choices& choices) {
  static constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::s8,
                                     DType::u8,  DType::s32,  DType::s64};
  return choices.of<DType>(kTypes);
}

// Every shape of a sample: of its inputs and among its attributes.
template <class Fn>
void each_shape(Sample& sample, Fn&& fn) {
  for (SampleInput& input : sample.inputs) fn(input.type.shape);
  const Attrs attrs = sample.attrs;
  for (const auto& [name, value] : attrs.items()) {
    if (const auto* shape = std::get_if<Shape>(&value)) {
      Shape changed = *shape;
      fn(changed);
      sample.attrs.set(name, changed);
    }
  }
}

Shape* random_shape(Sample& sample, Choices& choices) {
  if (sample.inputs.empty()) return nullptr;
  return &sample.inputs[choices.below(sample.inputs.size())].type.shape;
}

// One size becomes another wherever it stands, so that shapes still fit each other.
void rename_size(Sample& sample, Choices& choices) {
  std::vector<std::int64_t> sizes;
  each_shape(sample, [&](Shape& shape) {
    for (const Dim dim : shape.dims()) sizes.push_back(dim.factor());
  });
  if (sizes.empty()) return;
  const std::int64_t from = choices.of<std::int64_t>(sizes);
  const Dim to = dimension(choices);
  each_shape(sample, [&](Shape& shape) {
    for (int i = 0; i < shape.rank(); ++i) {
      if (shape[i].factor() == from) shape[i] = to;
    }
  });
}

void change_shape(Shape& shape, Choices& choices) {
  if (shape.rank() == 0 || choices.one_in(4)) {
    shape.push_back(dimension(choices));
  } else if (choices.one_in(4)) {
    auto dims = shape.dims();
    dims.erase(dims.begin() + static_cast<std::ptrdiff_t>(choices.below(dims.size())));
    shape = Shape(dims);
  } else {
    shape[static_cast<int>(choices.below(static_cast<std::uint64_t>(shape.rank())))] =
        dimension(choices);
  }
}

void change_attr(Sample& sample, const OpDef& op, Choices& choices) {
  if (op.attrs.empty()) return;
  const AttrDef& def = choices.of<AttrDef>(op.attrs);
  const AttrValue* old = sample.attrs.find(def.name);
  if (old == nullptr && def.fallback) old = &*def.fallback;
  AttrValue value = old ? *old : AttrValue(std::int64_t{0});
  switch (kind_of(value)) {
    case AttrKind::integer:
      value = number(choices);
      break;
    case AttrKind::real:
      value = real(choices);
      break;
    case AttrKind::boolean:
      value = !std::get<bool>(value);
      break;
    case AttrKind::string:
      value = text(choices, def.name, std::max<std::size_t>(1, sample.inputs.size()));
      break;
    case AttrKind::integers: {
      auto& list = std::get<Ints>(value);
      if (list.empty() || choices.one_in(8)) {
        list.push_back(number(choices));
      } else if (choices.one_in(8)) {
        list.pop_back();
      } else {
        list[choices.below(list.size())] = number(choices);
      }
      break;
    }
    case AttrKind::shape:
      change_shape(std::get<Shape>(value), choices);
      break;
    case AttrKind::dtype:
      value = dtype(choices);
      break;
    case AttrKind::program:
      value = parse_program_attr(
          ops::standard_ops(),
          text(choices, def.name, std::max<std::size_t>(1, sample.inputs.size())));
      break;
  }
  sample.attrs.set(def.name, value);
}

// More operands, up to far over what programs take, or fewer.
void change_operands(Sample& sample, Choices& choices) {
  static constexpr std::uint64_t kCounts[] = {1, 2, 3, 26, 28, 29, 30, 31, 32, 33, 64, 300, 1000};
  if (sample.inputs.empty()) return;
  switch (choices.below(4)) {
    case 0:
      sample.inputs[choices.below(sample.inputs.size())].absent = true;
      break;
    case 1:
      sample.inputs.pop_back();
      break;
    default: {
      SampleInput more{f32({})};
      if (choices.below(2) == 0) more = SampleInput(choices.of<SampleInput>(sample.inputs));
      const std::uint64_t count = choices.of<std::uint64_t>(kCounts);
      sample.inputs.insert(sample.inputs.end(), count, more);
    }
  }
}

CodebookFormat codebook(Choices& choices) {
  static constexpr DType kEntries[] = {DType::f32, DType::f32, DType::bf16, DType::s8};
  CodebookFormat out;
  out.bits = static_cast<int>(1 + choices.below(8));
  out.entry_dtype = choices.of<DType>(kEntries);
  if (choices.one_in(3)) out.group_rows = 1 + static_cast<std::int64_t>(choices.below(33));
  if (choices.one_in(3)) out.scale_block = static_cast<std::int64_t>(choices.below(34)) - 1;
  if (choices.one_in(4)) out.vector_len = static_cast<int>(1 + choices.below(16));
  return out;
}

void mutate(Sample& sample, const OpDef& op, Choices& choices) {
  switch (choices.below(8)) {
    case 0:
    case 1:
      return rename_size(sample, choices);
    case 2:
      if (Shape* shape = random_shape(sample, choices)) change_shape(*shape, choices);
      return;
    case 3:
    case 4:
      return change_attr(sample, op, choices);
    case 5:
      return change_operands(sample, choices);
    case 6:
      if (!sample.inputs.empty())
        sample.inputs[choices.below(sample.inputs.size())].type.dtype = dtype(choices);
      return;
    default:
      for (std::size_t i = 0; i < sample.inputs.size(); ++i) {
        TensorType& type = sample.inputs[i].type;
        if (!op.input_def(i).encoded || type.dtype != DType::f32) continue;
        type.encoding = Encoding::codebook(codebook(choices));
      }
  }
}

Value leaf(Graph& graph, const std::string& name, const TensorType& type, Choices& choices) {
  switch (choices.below(8)) {
    case 0:
      return graph.constant(real(choices), type);
    case 1:
      return graph.state(name, type);
    case 2:
    case 3:
    case 4:
      return graph.input(name, type);
    default:
      return graph.param(name, type);
  }
}

Value encoded_leaf(Graph& graph, const std::string& name, const TensorType& type,
                   Choices& choices) {
  const CodebookFormat& format = *type.encoding.codebook_format();
  format.validate(type.shape);
  check_size(type.shape);
  const std::int64_t k = 1 + static_cast<std::int64_t>(
                                 choices.below(static_cast<std::uint64_t>(format.max_entries())));
  std::vector<Value> planes;
  for (const Plane& plane : Encoding::codebook(format, k).planes(type.dtype, type.shape))
    planes.push_back(
        leaf(graph, cat(name, ".", plane.name), {plane.dtype, plane.shape, {}}, choices));
  planes.resize(3);
  return ops::codebook(planes[0], planes[1], planes[2], format, type.shape);
}

// What reads the op's result, so that passes have something to fuse, and its gradients.
void add_readers(Graph& graph, const Node& node, const std::vector<Value>& inputs,
                 Choices& choices) {
  const Value out = node.output();
  switch (choices.below(6)) {
    case 0:
      graph.set_output("reader", ops::tanh(out) * 2.0 + out);
      break;
    case 1:
      graph.set_output("reader", ops::relu(out + graph.param("bias", out.type().dense())));
      break;
    case 2: {
      std::vector<Value> wrt;
      for (const Value v : inputs) {
        if (v && v.node->op().has(kLeaf) && v.type().dtype == DType::f32) wrt.push_back(v);
      }
      const auto grads = grad(ops::sum(out * out), wrt);
      for (std::size_t i = 0; i < grads.size(); ++i) graph.set_output(cat("grad", i), grads[i]);
      break;
    }
    default:
      break;
  }
}

// Steps of a function, and random numbers that the sample did not choose, are no ground for a
// comparison.
bool comparable(const OpDef& op, const Sample& sample) {
  static const std::set<std::string_view> kSteps = {
      "nearest", "argmax", "greater", "greater_equal", "equal",           "sign",
      "floor",   "round",  "uniform", "where",         "max_pool2d_grad", "cast"};
  if (kSteps.contains(op.name)) return false;
  for (const auto& [name, value] : sample.attrs.items()) {
    if (const auto* text = std::get_if<std::string>(&value); text && !text->empty()) return false;
    if (const auto* carried = std::get_if<ProgramRef>(&value); carried && *carried) return false;
  }
  return true;
}

}  // namespace

OpCase make_op_case(Choices& choices) {
  const auto& list = sources();
  const Source& source = list[choices.below(list.size())];
  const OpDef& op = *source.op;
  Sample sample = choices.of<Sample>(source.samples);
  for (std::uint64_t n = choices.below(4); n > 0; --n) mutate(sample, op, choices);

  OpCase out{Graph(ops::standard_ops()), comparable(op, sample), nullptr};
  std::vector<Value> inputs;
  auto values = std::make_shared<std::map<std::string, std::vector<double>, std::less<>>>();
  for (std::size_t i = 0; i < sample.inputs.size(); ++i) {
    const SampleInput& input = sample.inputs[i];
    const std::string name = cat("in", i);
    if (input.absent) {
      inputs.emplace_back();
    } else if (input.type.encoding.is_codebook()) {
      inputs.push_back(encoded_leaf(out.graph, name, input.type, choices));
    } else {
      inputs.push_back(leaf(out.graph, name, input.type, choices));
      (*values)[name] = input.values;
    }
  }
  const Node& node = out.graph.add(op, inputs, sample.attrs);
  for (int i = 0; i < static_cast<int>(node.types().size()); ++i) {
    if (node.types()[static_cast<std::size_t>(i)].encoding.is_dense())
      out.graph.set_output(cat("out", i), node.output(i));
  }
  add_readers(out.graph, node, inputs, choices);
  const bool sampled = choices.below(4) < 3;
  out.fill = [values, sampled](const Node& at, Tensor& tensor) {
    const auto found = values->find(at.name());
    if (!sampled || found == values->end()) return false;
    if (static_cast<std::int64_t>(found->second.size()) != tensor.numel()) return false;
    for (std::int64_t i = 0; i < tensor.numel(); ++i)
      set_element(tensor, i, found->second[static_cast<std::size_t>(i)]);
    return true;
  };
  return out;
}

std::string op_case_text(std::span<const std::uint8_t> bytes) {
  Choices choices(bytes);
  try {
    return graph_text(make_op_case(choices).graph);
  } catch (const Error& error) {
    return cat(error.what(), "\n");
  }
}

Outcome run_op_case(std::span<const std::uint8_t> bytes) {
  Choices choices(bytes);
  OpCase made{Graph(ops::standard_ops()), false, nullptr};
  try {
    made = make_op_case(choices);
    // What files cannot hold is not asked of them.
    if (choices.one_in(16) && made.graph.find_leaf("bias") == nullptr)
      made.graph = graph_from_json(made.graph.ops(), graph_to_json(made.graph), "case");
  } catch (const Error&) {
    return Outcome::refused;
  }
  return exercise(made.graph, choices, made.fill, made.compare);
}

}  // namespace tessera::fuzz
