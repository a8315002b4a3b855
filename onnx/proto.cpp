#include "onnx/proto.h"

#include <utility>

#include "core/error.h"
#include "core/memory_rule.h"
#include "core/text.h"
#include "onnx/wire.h"

namespace tessera::onnx {

namespace {

struct TypeRow {
  ElementType type;
  const char* name;
  int bits;
};
constexpr TypeRow kTypes[] = {
    {ElementType::f32, "float", 32},        {ElementType::u8, "uint8", 8},
    {ElementType::s8, "int8", 8},           {ElementType::u16, "uint16", 16},
    {ElementType::s16, "int16", 16},        {ElementType::s32, "int32", 32},
    {ElementType::s64, "int64", 64},        {ElementType::string, "string", 0},
    {ElementType::boolean, "bool", 8},      {ElementType::f16, "float16", 16},
    {ElementType::f64, "double", 64},       {ElementType::u32, "uint32", 32},
    {ElementType::u64, "uint64", 64},       {ElementType::bf16, "bfloat16", 16},
    {ElementType::u4, "uint4", 4},          {ElementType::s4, "int4", 4},
    {ElementType::u2, "uint2", 2},          {ElementType::s2, "int2", 2},
    {ElementType::undefined, "no type", 0},
};

// One pass over the messages. What is kept is charged, doubled for the spare room of vectors.
class Parser {
 public:
  Parser(std::size_t size, const std::string& file)
      : size_(static_cast<std::int64_t>(size)), file_(file) {}

  ModelProto model(FieldReader in) {
    ModelProto out;
    bool has_graph = false;
    while (in.next()) {
      switch (in.number()) {
        case 1:
          out.ir_version = in.integer();
          break;
        case 2:
          out.producer = in.bytes();
          break;
        case 7:
          if (std::exchange(has_graph, true)) fail("byte ", in.offset(), ": a second graph");
          out.graph = graph(in.message());
          break;
        case 8: {
          const auto [domain, version] = opset(in.message());
          out.opsets[domain] = version;
          charge<std::pair<std::string_view, std::int64_t>>(4);
          break;
        }
        case 14: {
          const auto [key, value] = entry(in.message());
          out.metadata[key] = value;
          break;
        }
        case 25:
          ++out.functions;
          break;
        default:
          break;
      }
    }
    check(has_graph, "expected an ONNX model, found no graph in it");
    return out;
  }

  TensorProto tensor(FieldReader in) {
    TensorProto out;
    while (in.next()) {
      switch (in.number()) {
        case 1:
          grown(out.dims, [&] { in.integers(out.dims); });
          break;
        case 2:
          out.type = static_cast<ElementType>(in.integer());
          break;
        case 4:
          grown(out.reals, [&] { in.reals(out.reals); });
          break;
        case 5:
        case 7:
        case 11:
          grown(out.integers, [&] { in.integers(out.integers); });
          break;
        case 8:
          out.name = in.bytes();
          break;
        case 9:
          out.raw = in.bytes();
          break;
        case 10:
          grown(out.doubles, [&] { in.doubles(out.doubles); });
          break;
        case 13: {
          const auto [key, value] = entry(in.message());
          out.external[key] = value;
          break;
        }
        default:
          break;
      }
    }
    return out;
  }

 private:
  template <class T>
  void charge(std::int64_t times = 2) {
    taken_ += times * static_cast<std::int64_t>(sizeof(T));
    require_memory(taken_, size_, file_ + ": its graph takes");
  }
  // Charges what `fill` appends, before the list is used.
  template <class T, class Fill>
  void grown(std::vector<T>& list, Fill fill) {
    const std::size_t before = list.size();
    fill();
    taken_ += static_cast<std::int64_t>(2 * sizeof(T) * (list.size() - before));
    require_memory(taken_, size_, file_ + ": its lists of numbers take");
  }
  template <class T>
  void keep(std::vector<T>& list, T value) {
    charge<T>();
    list.push_back(std::move(value));
  }

  std::pair<std::string_view, std::string_view> entry(FieldReader in) {
    std::pair<std::string_view, std::string_view> out;
    while (in.next()) {
      if (in.number() == 1) out.first = in.bytes();
      if (in.number() == 2) out.second = in.bytes();
    }
    charge<decltype(out)>(4);
    return out;
  }

  std::pair<std::string_view, std::int64_t> opset(FieldReader in) {
    std::pair<std::string_view, std::int64_t> out;
    while (in.next()) {
      if (in.number() == 1) out.first = in.bytes();
      if (in.number() == 2) out.second = in.integer();
    }
    if (out.first == "ai.onnx") out.first = "";
    return out;
  }

  AttributeProto attribute(FieldReader in) {
    using Kind = AttributeProto::Kind;
    AttributeProto out;
    while (in.next()) {
      switch (in.number()) {
        case 1:
          out.name = in.bytes();
          break;
        case 2:
          out.real = in.real();
          if (out.kind == Kind::none) out.kind = Kind::real;
          break;
        case 3:
          out.integer = in.integer();
          if (out.kind == Kind::none) out.kind = Kind::integer;
          break;
        case 4:
          out.text = in.bytes();
          if (out.kind == Kind::none) out.kind = Kind::text;
          break;
        case 5:
          keep(out.tensor, tensor(in.message()));
          out.kind = Kind::tensor;
          break;
        case 6:
          out.kind = Kind::graph;
          break;
        case 7:
          grown(out.reals, [&] { in.reals(out.reals); });
          out.kind = Kind::reals;
          break;
        case 8:
          grown(out.integers, [&] { in.integers(out.integers); });
          out.kind = Kind::integers;
          break;
        case 9:
          keep(out.texts, in.bytes());
          out.kind = Kind::texts;
          break;
        case 20:  // an empty list or a 0 that was left out has its type only
          out.kind = kind(in.integer());
          break;
        default:
          break;
      }
    }
    return out;
  }

  static AttributeProto::Kind kind(std::int64_t type) {
    using Kind = AttributeProto::Kind;
    constexpr Kind kinds[] = {Kind::none,  Kind::real,  Kind::integer,  Kind::text, Kind::tensor,
                              Kind::graph, Kind::reals, Kind::integers, Kind::texts};
    return type >= 0 && type < std::ssize(kinds) ? kinds[type] : Kind::other;
  }

  NodeProto node(FieldReader in) {
    NodeProto out;
    while (in.next()) {
      switch (in.number()) {
        case 1:
          keep(out.inputs, in.bytes());
          break;
        case 2:
          keep(out.outputs, in.bytes());
          break;
        case 3:
          out.name = in.bytes();
          break;
        case 4:
          out.op = in.bytes();
          break;
        case 5:
          keep(out.attributes, attribute(in.message()));
          break;
        case 7:
          out.domain = in.bytes();
          break;
        default:
          break;
      }
    }
    if (out.domain == "ai.onnx") out.domain = "";
    return out;
  }

  DimProto dim(FieldReader in) {
    DimProto out;
    while (in.next()) {
      if (in.number() == 1) out.value = in.integer();
      if (in.number() == 2) out.symbol = in.bytes();
    }
    return out;
  }

  ValueProto value(FieldReader in) {
    ValueProto out;
    while (in.next()) {
      if (in.number() == 1) out.name = in.bytes();
      if (in.number() != 2) continue;
      for (FieldReader type = in.message(); type.next();) {
        out.is_tensor = type.number() == 1;
        if (!out.is_tensor) continue;
        for (FieldReader tensor = type.message(); tensor.next();) {
          if (tensor.number() == 1) out.type = static_cast<ElementType>(tensor.integer());
          if (tensor.number() != 2) continue;
          out.shape.emplace();
          for (FieldReader shape = tensor.message(); shape.next();) {
            if (shape.number() == 1) keep(*out.shape, dim(shape.message()));
          }
        }
      }
    }
    return out;
  }

  GraphProto graph(FieldReader in) {
    GraphProto out;
    while (in.next()) {
      switch (in.number()) {
        case 1:
          keep(out.nodes, node(in.message()));
          break;
        case 5:
          keep(out.initializers, tensor(in.message()));
          break;
        case 11:
          keep(out.inputs, value(in.message()));
          break;
        case 12:
          keep(out.outputs, value(in.message()));
          break;
        case 15:
          out.sparse_initializers = true;
          break;
        default:
          break;
      }
    }
    return out;
  }

  std::int64_t size_, taken_ = 0;
  const std::string& file_;
};

// `read` with the file's name before what it throws.
template <class Read>
auto naming(const std::string& file, Read read) {
  try {
    return read();
  } catch (const Error& e) {
    const std::string what = e.what();
    throw Error(what.starts_with(file) ? what : file + ": " + what);
  }
}

}  // namespace

std::string name(ElementType type) {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) return row.name;
  }
  return cat("type ", static_cast<int>(type));
}

int bits_of(ElementType type) {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) return row.bits;
  }
  return 0;
}

std::int64_t TensorProto::numel() const {
  std::int64_t out = 1;
  check(dims.size() <= kMaxRank, "expected at most ", kMaxRank, " dimensions, got ", dims.size());
  for (const std::int64_t dim : dims) {
    check(dim >= 0 && dim <= kMaxDim, "a dimension of ", dim, " is out of range");
    out = checked_multiply(out, dim);
    check(out <= kMaxElements, "more than ", kMaxElements, " elements");
  }
  return out;
}

const AttributeProto* NodeProto::find(std::string_view wanted) const {
  for (const AttributeProto& attribute : attributes) {
    if (attribute.name == wanted) return &attribute;
  }
  return nullptr;
}

ModelProto parse_model(std::string_view bytes, const std::string& file) {
  return naming(file, [&] { return Parser(bytes.size(), file).model(FieldReader(bytes)); });
}

TensorProto parse_tensor(std::string_view bytes, const std::string& file) {
  return naming(file, [&] { return Parser(bytes.size(), file).tensor(FieldReader(bytes)); });
}

}  // namespace tessera::onnx
