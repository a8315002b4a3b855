// What the converters of ONNX operators work with: one node, its operands, and the graph it becomes
// part of.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph.h"
#include "core/state.h"
#include "onnx/proto.h"

namespace tessera::onnx {

constexpr bool is_float(ElementType type) {
  return type == ElementType::f32 || type == ElementType::f16 || type == ElementType::f64 ||
         type == ElementType::bf16;
}

// A constant that shape arithmetic works on: numbers, of which integers may be multiples of the
// batch. Either list is empty.
struct Small {
  ElementType type = ElementType::s64;
  Ints shape = {};
  std::vector<Dim> ints = {};
  std::vector<double> reals = {};
  std::size_t size() const { return is_float(type) ? reals.size() : ints.size(); }
  double real(std::size_t i) const;           // Error for a multiple of the batch
  std::int64_t integer(std::size_t i) const;  // likewise
};
inline constexpr std::int64_t kMostSmall = 1 << 16;  // elements

// An initializer in integers with scales, as DequantizeLinear reads it.
struct Quantized {
  Tensor values;       // s8, u8 or s32
  Tensor scale, zero;  // f32; zero as values, undefined for 0
  ElementType stored = ElementType::s8;
  int axis = 0;
  std::int64_t block = 0;      // 0: a scale per tensor or index of axis
  void require_sound() const;  // Error where shapes or types do not fit
  std::int64_t scale_of(std::int64_t element) const;
  Tensor decoded() const;
};

// A value of the ONNX graph.
struct Item {
  enum class Kind { absent, failed, value, tensor, small, quantized };
  Kind kind = Kind::absent;
  ElementType type = ElementType::f32;
  Value value = {};    // kind value; bool as f32 of 0 and 1
  Tensor tensor = {};  // kind tensor
  Small small = {};    // kind small
  std::shared_ptr<const Quantized> quantized = {};
  std::string name = {};
  bool initializer = false;  // its numbers are trained
  Shape shape() const;
  bool is_constant() const { return kind == Kind::tensor || kind == Kind::small; }
};

class Importer;

class Context {
 public:
  Context(Importer& importer, const NodeProto& node);

  const NodeProto& node;
  Graph& graph() const;
  std::int64_t fixed_batch() const;  // the file's own, where it is any size here; else 0
  std::int64_t opset() const;        // version of ONNX's own operators
  std::size_t inputs() const { return items_.size(); }
  bool has(std::size_t i) const;
  const Item& in(std::size_t i) const;  // Error when it is absent
  // Of shape arithmetic's size, and not trained: one operand, or all of them.
  bool known(std::size_t i) const;
  bool all_constant() const;

  // The operand as an f32 value of the graph; constants become leaves.
  Value real(std::size_t i);
  // As it is: f32, or integers of an input. Error for constants of integers.
  Value any(std::size_t i);
  // As any(), and constants of integers as states of integers.
  Value integers(std::size_t i);
  // Numbers that must be known now. Error naming the operand where they are not.
  Small small(std::size_t i) const;
  Ints ints(std::size_t i) const;
  std::vector<Dim> dims(std::size_t i) const;
  std::optional<double> scalar(std::size_t i) const;  // none: more than one, or not known
  // The operand as a weight: an initializer becomes a param of its name holding what `stored` makes
  // of its data, anything else goes through `built`.
  using Stored = std::function<Tensor(const Tensor&)>;
  using Built = std::function<Value(Value)>;
  // `form` names the form, "" the plain one: one param serves all uses in the same form.
  Value weight(std::size_t i, const std::string& form, const Stored& stored, const Built& built);
  // A part of one, which is a param of its own, its name with `suffix`.
  Value weight_part(std::size_t i, const std::string& suffix, const std::string& form,
                    const Stored& stored, const Built& built);
  Value weight(std::size_t i);             // as it is
  Value weight_transposed(std::size_t i);  // [a, b] as [b, a], packed weights too
  Value statistics(std::size_t i);         // constants become a state: not trained

  // Attributes. Error for one of another kind.
  const AttributeProto* find(std::string_view name) const;
  std::int64_t integer(std::string_view name, std::int64_t fallback) const;
  double number(std::string_view name, double fallback) const;
  std::string text(std::string_view name, const std::string& fallback) const;
  std::optional<Ints> list(std::string_view name) const;
  std::vector<std::string> texts(std::string_view name) const;
  // Axes or the like that older versions have as an attribute and newer ones as operand i.
  std::optional<Ints> list(std::string_view name, std::size_t i) const;

  void out(std::size_t i, Value value, ElementType type = ElementType::f32);
  void out(std::size_t i, Small small);
  void out(std::size_t i, Item item);
  std::size_t outputs() const { return node.outputs.size(); }
  bool wants(std::size_t i) const { return i < node.outputs.size() && !node.outputs[i].empty(); }
  // Result i, a weight, is known under this name.
  void rename(std::size_t i, const std::string& name);
  // A state of these numbers, named after the first result.
  Value constant(const Tensor& tensor, const std::string& suffix);
  std::filesystem::path folder() const;  // of the file
  void note(const std::string& text);
  // Error naming the attributes that nobody asked for: what they say was not done.
  void require_all_read() const;

 private:
  const AttributeProto* attribute(std::string_view name, AttributeProto::Kind kind) const;
  Value leaf(const Item& item, bool trained);

  Importer& importer_;
  std::vector<Item*> items_;
  mutable std::set<std::string_view> asked_;  // attributes
};

// How an operator is read. Rows with the domain "" are ONNX's own.
struct OpRow {
  std::string_view op;
  void (*convert)(Context&);
};
std::span<const OpRow> elementwise_rows();
std::span<const OpRow> constant_rows();
std::span<const OpRow> movement_rows();
std::span<const OpRow> image_rows();
std::span<const OpRow> product_rows();
std::span<const OpRow> reduce_rows();
std::span<const OpRow> recurrent_rows();
std::span<const OpRow> quantized_rows();

// ---- shapes ----
int axis_of(std::int64_t axis, int rank);  // Error out of range
Ints axes_of(const Ints& axes, int rank);  // in order, each once
Shape shape_of(const std::vector<Dim>& dims);
std::vector<Dim> dims_of(const Shape& shape);
// Several axes as one.
Dim joined(const Shape& shape, int begin, int end);
// Two f32 operands of any rank: their product as numpy's matmul has it.
Value product(Value a, Value b);
// Element i of the result is element source[i] of `from`.
Small picked(const Small& from, Ints shape, const Ints& source);

}  // namespace tessera::onnx
