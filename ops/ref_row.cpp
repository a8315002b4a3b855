#include "ops/ref_row.h"

#include <cstring>
#include <memory>

#include "core/interpret.h"
#include "core/tensor.h"

namespace tessera {

namespace {

template <class T>
std::vector<double> widen(const BufferRef& buffer, std::int64_t n) {
  const T* from = buffer.as<const T>();
  return {from, from + n};
}

std::vector<double> load_plane(DType dtype, const std::byte* from, std::int64_t n) {
  BufferRef buffer;
  buffer.plane[0] = const_cast<std::byte*>(from);
  switch (dtype) {
    case DType::f32:
      return widen<float>(buffer, n);
    case DType::s8:
      return widen<std::int8_t>(buffer, n);
    case DType::u8:
      return widen<std::uint8_t>(buffer, n);
    case DType::s32:
      return widen<std::int32_t>(buffer, n);
    case DType::s64:
      return widen<std::int64_t>(buffer, n);
    case DType::bf16:
      break;
  }
  std::vector<double> out;
  for (std::int64_t i = 0; i < n; ++i)
    out.push_back(f32_from_bf16(buffer.as<const std::uint16_t>()[i]));
  return out;
}

struct Reference {
  Graph graph;  // one node on fresh leaves: the plan must not depend on the compiled graph
  const Node* node = nullptr;

  explicit Reference(const Node& from) : graph(from.graph().ops()) {
    std::vector<Value> inputs;
    for (std::size_t i = 0; i < from.inputs().size(); ++i) {
      const Value v = from.inputs()[i];
      inputs.push_back(v ? graph.input("in" + std::to_string(i), v.type()) : Value());
    }
    node = &graph.add(from.op(), std::move(inputs), from.attrs(), from.name());
  }

  void run(const KernelArgs& args) const {
    std::vector<RefTensor> values(args.inputs.size());
    std::vector<const RefTensor*> inputs;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Value v = node->inputs()[i];
      if (v) values[i] = {v.type(), load_elements(v.type(), args.inputs[i])};
      inputs.push_back(v ? &values[i] : nullptr);
    }
    const auto results = interpret_node(*node, inputs);
    for (std::size_t o = 0; o < results.size(); ++o) {
      store_elements(results[o].v, node->types()[o].dtype, args.outputs[o].plane[0]);
    }
  }
};

}  // namespace

std::vector<double> load_elements(const TensorType& type, const BufferRef& buffer) {
  const std::int64_t n = type.shape.numel();
  if (!type.encoding.is_codebook()) return load_plane(type.dtype, buffer.plane[0], n);

  const CodebookLayout layout(*type.encoding.codebook_format(), type.shape,
                              type.encoding.entries());
  const Plane entries = type.encoding.planes(type.dtype, type.shape)[1];
  const auto table = load_plane(entries.dtype, buffer.plane[1], entries.shape.numel());
  std::vector<double> out;
  out.reserve(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t index = layout.index(buffer.as<const std::uint8_t>(), i);
    double value = table[static_cast<std::size_t>(layout.entry(i, index))];
    if (layout.has_scale()) value *= buffer.as<const float>(2)[layout.scale(i)];
    out.push_back(value);
  }
  return out;
}

void store_elements(const std::vector<double>& values, DType dtype, std::byte* to) {
  const auto narrow = [&]<class T>(T* out) {
    for (std::size_t i = 0; i < values.size(); ++i) out[i] = static_cast<T>(values[i]);
  };
  switch (dtype) {
    case DType::f32:
      return narrow(reinterpret_cast<float*>(to));
    case DType::s8:
      return narrow(reinterpret_cast<std::int8_t*>(to));
    case DType::u8:
      return narrow(reinterpret_cast<std::uint8_t*>(to));
    case DType::s32:
      return narrow(reinterpret_cast<std::int32_t*>(to));
    case DType::s64:
      return narrow(reinterpret_cast<std::int64_t*>(to));
    case DType::bf16:
      break;
  }
  auto* out = reinterpret_cast<std::uint16_t*>(to);
  for (std::size_t i = 0; i < values.size(); ++i)
    out[i] = bf16_from_f32(static_cast<float>(values[i]));
}

std::string refuses_ref(const KernelQuery& query) {
  for (const auto& type : query.node.types()) {
    if (!type.encoding.is_dense()) return "writes dense values";
  }
  for (const Value v : query.node.inputs()) {
    if (!v) continue;
    if (!v.type().encoding.packed_layout().empty()) return "reads no packed layout";
    if (v.type().encoding.is_codebook() && v.type().encoding.entries() == 0)
      return "needs the operand's number of entries";
  }
  return {};
}

KernelPlan prepare_ref(const KernelQuery& query) {
  auto reference = std::make_shared<const Reference>(query.node);
  KernelPlan plan;
  plan.run = [reference](const KernelArgs& args) { reference->run(args); };
  return plan;
}

}  // namespace tessera
