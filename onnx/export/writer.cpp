#include "onnx/export/writer.h"

#include <bit>

#include "core/error.h"
#include "core/version.h"

namespace tessera::onnx {

namespace {

FieldWriter attribute(std::string_view name, int type) {
  FieldWriter out;
  out.bytes(1, name);
  out.integer(20, type);
  return out;
}

}  // namespace

AttributeWriter& AttributeWriter::integer(std::string_view name, std::int64_t value) {
  all_.push_back(attribute(name, 2));
  all_.back().integer(3, value);
  return *this;
}
AttributeWriter& AttributeWriter::real(std::string_view name, double value) {
  all_.push_back(attribute(name, 1));
  all_.back().real(2, static_cast<float>(value));
  return *this;
}
AttributeWriter& AttributeWriter::text(std::string_view name, std::string_view value) {
  all_.push_back(attribute(name, 3));
  all_.back().bytes(4, value);
  return *this;
}
AttributeWriter& AttributeWriter::list(std::string_view name, const Ints& values) {
  all_.push_back(attribute(name, 7));
  for (const std::int64_t value : values) all_.back().integer(8, value);
  return *this;
}

std::string GraphWriter::unique(const std::string& wanted) {
  if (names_.insert(wanted).second) return wanted;
  for (int& n = counts_[wanted];;) {
    std::string name = cat(wanted, "_", ++n);
    if (names_.insert(name).second) return name;
  }
}

std::vector<std::string> GraphWriter::node(std::string_view op,
                                           const std::vector<std::string>& inputs,
                                           std::size_t outputs, const AttributeWriter& attributes) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < outputs; ++i) out.push_back(unique(std::string(op)));
  FieldWriter node;
  for (const std::string& name : inputs) node.bytes(1, name);
  for (const std::string& name : out) node.bytes(2, name);
  node.bytes(3, out.front());
  node.bytes(4, op);
  for (const FieldWriter& attribute : attributes.all()) node.message(5, attribute);
  nodes_.message(1, node);
  return out;
}

std::string GraphWriter::node(std::string_view op, const std::vector<std::string>& inputs,
                              const AttributeWriter& attributes, const std::string& output) {
  if (output.empty()) return node(op, inputs, 1, attributes).front();
  FieldWriter node;
  for (const std::string& name : inputs) node.bytes(1, name);
  node.bytes(2, output);
  node.bytes(3, output);
  node.bytes(4, op);
  for (const FieldWriter& attribute : attributes.all()) node.message(5, attribute);
  nodes_.message(1, node);
  return output;
}

void GraphWriter::tensor(const std::string& name, ElementType type, const Ints& shape,
                         std::string_view raw) {
  FieldWriter out;
  for (const std::int64_t dim : shape) out.integer(1, dim);
  out.integer(2, static_cast<std::int64_t>(type));
  out.bytes(8, name);
  out.bytes(9, raw);
  initializers_.message(5, out);
}

std::string GraphWriter::reals(const std::string& name, const Ints& shape,
                               std::span<const float> values) {
  tensor(name, ElementType::f32, shape,
         {reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  return name;
}

std::string GraphWriter::real(double value) {
  const auto number = static_cast<float>(value);
  auto& name = reals_[std::bit_cast<std::uint32_t>(number)];
  if (name.empty()) name = reals(unique("number"), {}, std::span(&number, 1));
  return name;
}

std::string GraphWriter::ints(const Ints& values) {
  auto& name = ints_[values];
  if (name.empty()) {
    name = unique("numbers");
    tensor(name, ElementType::s64, {std::ssize(values)},
           {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(std::int64_t)});
  }
  return name;
}

FieldWriter GraphWriter::value_info(const std::string& name, ElementType type, const Shape& shape) {
  FieldWriter dims;
  for (const Dim dim : shape.dims()) {
    FieldWriter one;
    if (dim.is_symbolic()) {
      one.bytes(2, dim.text());
    } else {
      one.integer(1, dim.value());
    }
    dims.message(1, one);
  }
  FieldWriter tensor, kind, out;
  tensor.integer(1, static_cast<std::int64_t>(type));
  tensor.message(2, dims);
  kind.message(1, tensor);
  out.bytes(1, name);
  out.message(2, kind);
  return out;
}

void GraphWriter::input(const std::string& name, ElementType type, const Shape& shape) {
  inputs_.message(11, value_info(name, type, shape));
}
void GraphWriter::output(const std::string& name, ElementType type, const Shape& shape) {
  outputs_.message(12, value_info(name, type, shape));
}

void GraphWriter::metadata(std::string_view key, std::string_view value) {
  FieldWriter entry;
  entry.bytes(1, key);
  entry.bytes(2, value);
  metadata_.message(14, entry);
}

std::string GraphWriter::finish(std::int64_t ir_version) const {
  FieldWriter opset, out;
  opset.bytes(1, "");
  opset.integer(2, opset_);
  out.integer(1, ir_version);
  out.bytes(2, "tessera");
  out.bytes(3, version());
  out.message(8, opset);
  FieldWriter name;
  name.bytes(2, "tessera");
  const std::string graph =
      nodes_.text() + name.text() + initializers_.text() + inputs_.text() + outputs_.text();
  out.bytes(7, graph);
  return out.text() + metadata_.text();
}

}  // namespace tessera::onnx
