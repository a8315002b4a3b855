// The ONNX graph that is being written: nodes, initializers, names.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph.h"
#include "core/state.h"
#include "onnx/export.h"
#include "onnx/proto.h"
#include "onnx/wire.h"

namespace tessera::onnx {

// Attributes of one node.
class AttributeWriter {
 public:
  AttributeWriter& integer(std::string_view name, std::int64_t value);
  AttributeWriter& real(std::string_view name, double value);
  AttributeWriter& text(std::string_view name, std::string_view value);
  AttributeWriter& list(std::string_view name, const Ints& values);
  const std::vector<FieldWriter>& all() const { return all_; }

 private:
  std::vector<FieldWriter> all_;
};

class GraphWriter {
 public:
  explicit GraphWriter(std::int64_t opset) : opset_(opset) {}
  std::int64_t opset() const { return opset_; }

  // A name that nothing has yet, made of this one.
  std::string unique(const std::string& wanted);
  void reserve(const std::string& name) { names_.insert(name); }

  // One node with these operands ("" for one that is absent); its first result.
  std::string node(std::string_view op, const std::vector<std::string>& inputs,
                   const AttributeWriter& attributes = {}, const std::string& output = "");
  std::vector<std::string> node(std::string_view op, const std::vector<std::string>& inputs,
                                std::size_t outputs, const AttributeWriter& attributes = {});

  // Initializers; the name is taken as it is.
  void tensor(const std::string& name, ElementType type, const Ints& shape, std::string_view raw);
  std::string real(double value);        // a number, once
  std::string ints(const Ints& values);  // int64 [n], once
  std::string reals(const std::string& name, const Ints& shape, std::span<const float> values);

  void input(const std::string& name, ElementType type, const Shape& shape);
  void output(const std::string& name, ElementType type, const Shape& shape);
  void metadata(std::string_view key, std::string_view value);
  std::string finish(std::int64_t ir_version) const;

 private:
  static FieldWriter value_info(const std::string& name, ElementType type, const Shape& shape);

  std::int64_t opset_;
  std::set<std::string> names_;
  std::map<std::string, int> counts_;
  std::map<std::uint64_t, std::string> reals_;
  std::map<Ints, std::string> ints_;
  FieldWriter nodes_, initializers_, inputs_, outputs_, metadata_;
};

}  // namespace tessera::onnx
