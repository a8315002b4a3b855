// An ONNX file as it is written: plain structs of onnx.proto's messages, as much of them as
// networks use. Texts and tensors' bytes are views into the file's content.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace tessera::onnx {

// TensorProto.DataType.
enum class ElementType : std::int32_t {
  undefined = 0,
  f32 = 1,
  u8 = 2,
  s8 = 3,
  u16 = 4,
  s16 = 5,
  s32 = 6,
  s64 = 7,
  string = 8,
  boolean = 9,
  f16 = 10,
  f64 = 11,
  u32 = 12,
  u64 = 13,
  bf16 = 16,
  u4 = 21,
  s4 = 22,
  u2 = 25,
  s2 = 26,
};
// As ONNX calls it: "float", "int64"; "type 99" of an unknown one.
std::string name(ElementType type);
// Bits of an element in raw data; 0: not read here.
int bits_of(ElementType type);

struct TensorProto {
  std::string_view name;
  std::vector<std::int64_t> dims;
  ElementType type = ElementType::undefined;
  std::optional<std::string_view> raw;
  std::vector<float> reals;
  std::vector<std::int64_t> integers;  // int32_data, int64_data, uint64_data
  std::vector<double> doubles;
  // Where the data is in another file: "location", "offset", "length".
  std::map<std::string_view, std::string_view> external;
  std::int64_t numel() const;  // Error when it is out of all proportion or negative
};

struct GraphProto;
struct AttributeProto {
  enum class Kind { none, real, integer, text, tensor, graph, reals, integers, texts, other };
  std::string_view name;
  Kind kind = Kind::none;
  float real = 0;
  std::int64_t integer = 0;
  std::string_view text;
  std::vector<TensorProto> tensor;  // one, of kind tensor
  std::vector<float> reals;
  std::vector<std::int64_t> integers;
  std::vector<std::string_view> texts;
};

struct NodeProto {
  std::vector<std::string_view> inputs, outputs;
  std::string_view name, op, domain;
  std::vector<AttributeProto> attributes;
  const AttributeProto* find(std::string_view name) const;
};

struct DimProto {
  std::optional<std::int64_t> value;
  std::string_view symbol;
};
struct ValueProto {
  std::string_view name;
  bool is_tensor = false;
  ElementType type = ElementType::undefined;
  std::optional<std::vector<DimProto>> shape;
};

struct GraphProto {
  std::vector<NodeProto> nodes;
  std::vector<TensorProto> initializers;
  std::vector<ValueProto> inputs, outputs;
  bool sparse_initializers = false;
};

// Metadata of files that are written here: the initializers that are not trained, a line each.
inline constexpr std::string_view kStatesKey = "tessera.states";

struct ModelProto {
  std::int64_t ir_version = 0;
  std::map<std::string_view, std::int64_t> opsets;  // domain -> version; "" is ONNX's own
  std::string_view producer;
  std::map<std::string_view, std::string_view> metadata;
  std::size_t functions = 0;
  GraphProto graph;
};

// Reads the messages in `bytes`, which must outlive the result. Throws Error "FILE: byte N: ..."
// and never takes more memory than the rule gives a file of that size (core/memory_rule.h).
ModelProto parse_model(std::string_view bytes, const std::string& file);
TensorProto parse_tensor(std::string_view bytes, const std::string& file);

// The elements: f32 of float, double, float16 and bfloat16; s64 of other integers and bool, but u8,
// s8 and s32 as they are, 4 and 2 bits unpacked to u8 and s8. External data is read from `folder`,
// from a relative path without "..". Throws Error when bytes and shape do not agree, or the type is
// not read.
Tensor read_tensor(const TensorProto& proto, const std::filesystem::path& folder);

}  // namespace tessera::onnx
