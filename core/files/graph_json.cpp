#include "core/files/graph_json.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "core/op_def.h"

namespace tessera {

namespace {

constexpr std::string_view kFormat = "tessera.graph";
constexpr std::int64_t kVersion = 1;
constexpr int kMaxDepth = 8;
constexpr std::size_t kMaxTypeText = 400;

// Messages of ops may quote attributes of any length.
std::string shortened(std::string_view message) {
  constexpr std::size_t kMost = 300;
  return message.size() > kMost ? std::string(message.substr(0, kMost)) + "..."
                                : std::string(message);
}

bool is_named_leaf(const OpDef& op) {
  return op.has(kLeaf) && &op != &kConstant;
}

// ---- writing ----

Json value_json(Value v) {
  if (!v) return nullptr;
  if (v.index == 0) return v.node->id();
  return Json::array({v.node->id(), v.index});
}

Json attr_json(const AttrValue& value) {
  switch (kind_of(value)) {
    case AttrKind::integer:
      return std::get<std::int64_t>(value);
    case AttrKind::real: {
      const double real = std::get<double>(value);
      if (!std::isfinite(real)) return attr_text(value);  // "nan", "inf", "-inf"
      return real;
    }
    case AttrKind::boolean:
      return std::get<bool>(value);
    case AttrKind::string:
      return std::get<std::string>(value);
    case AttrKind::integers:
      return std::get<Ints>(value);
    case AttrKind::program:
      return std::get<ProgramRef>(value).text();
    case AttrKind::shape:
    case AttrKind::dtype:
      return attr_text(value);
  }
  return nullptr;
}

Json attrs_json(const Node& node) {
  Json out = Json::object();
  for (const auto& [name, value] : node.attrs().items()) {
    bool is_default = false;
    for (const AttrDef& def : node.op().attrs) {
      if (def.name == name) is_default = def.fallback && same_attr(*def.fallback, value);
    }
    if (!is_default) out[name] = attr_json(value);
  }
  return out;
}

std::string node_json(const Node& node) {
  std::string out =
      cat("{\"id\":", node.id(), ",\"op\":", json_text(Json(std::string(node.op().name))));
  if (!node.name().empty()) out += cat(",\"name\":", json_text(node.name()));
  if (!node.inputs().empty()) {
    Json inputs = Json::array();
    for (const Value v : node.inputs()) inputs.push_back(value_json(v));
    out += cat(",\"inputs\":", json_text(inputs));
  }
  if (const Json attrs = attrs_json(node); !attrs.empty()) {
    out += cat(",\"attrs\":", json_text(attrs));
  }
  Json types = Json::array();
  for (const TensorType& type : node.types()) {
    check(type.encoding.packed_layout().empty(), "node ", node.id(), " is ", type,
          ", packed for a kernel; files hold graphs before compilation");
    types.push_back(type.text());
  }
  return cat(out, ",\"type\":", json_text(types.size() == 1 ? types[0] : types), "}");
}

// ---- reading ----

class Reader {
 public:
  Reader(const OpSet& ops, const JsonAt& root) : root_(root), graph_(ops) {}

  GraphDocument read() {
    const std::string format = root_.at("format").text();
    if (format != kFormat) root_.at("format").fail("expected '", kFormat, "', got ", quote(format));
    if (const std::int64_t version = root_.at("version").integer(); version != kVersion) {
      root_.at("version").fail("version ", version, " is not supported, expected ", kVersion);
    }
    root_.only(
        {"format", "version", "settings", "attached", "weights", "nodes", "outputs", "updates"});
    root_.at("nodes").each([&](const JsonAt& node) { read_node(node); }, "a list of nodes");
    root_.at("outputs").each([&](const JsonAt& output) { read_output(output); });
    if (const auto updates = root_.find("updates"))
      updates->each([&](const JsonAt& update) { read_update(update); });
    GraphDocument out{std::move(graph_)};
    const auto read_texts = [&](const char* field, std::map<std::string, std::string>& texts) {
      if (const auto found = root_.find(field))
        found->each_field(
            [&](const std::string& name, const JsonAt& value) { texts[name] = value.text(); });
    };
    read_texts("settings", out.settings);
    read_texts("attached", out.attached);
    if (const auto weights = root_.find("weights")) out.weights = read_weights(*weights);
    return out;
  }

 private:
  static WeightsFile read_weights(const JsonAt& at) {
    at.only({"file", "sha256", "coding"});
    WeightsFile out{at.at("file").text(), at.at("sha256").text()};
    if (const auto coding = at.find("coding")) {
      out.coding = coding->text();
      if (out.coding != kRansCoding) {
        coding->fail("expected '", kRansCoding, "', got ", quote(out.coding));
      }
    }
    // A model may not reach outside its folder.
    if (out.name.empty() || out.name.front() == '.' ||
        out.name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      at.at("file").fail("expected the name of a file in the same folder, got ", quote(out.name));
    }
    if (out.sha256.size() != 64 ||
        out.sha256.find_first_not_of("0123456789abcdef") != std::string::npos) {
      at.at("sha256").fail("expected 64 hexadecimal digits, got ", quote(out.sha256));
    }
    return out;
  }

  // Runs what may throw, and puts the place in front of its message. An op's own assertion counts
  // too: the file broke it.
  template <class Fn>
  static auto guarded(const JsonAt& at, Fn&& fn) {
    try {
      return fn();
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      at.fail(shortened(error.what()));
    }
  }

  static void require_size(const JsonAt& at, const Shape& shape) {
    guarded(at, [&] { check_size(shape); });
    const auto symbols = std::count_if(shape.dims().begin(), shape.dims().end(),
                                       [](Dim dim) { return dim.is_symbolic(); });
    if (symbols > 1) at.fail("only one dimension can hold the batch, got ", shape.text());
  }

  static TensorType read_type(const JsonAt& at) {
    const std::string text = at.text("a type such as \"f32[batch,784]\"");
    if (text.size() > kMaxTypeText) at.fail("expected a type, got ", text.size(), " characters");
    const auto close = text.find(']');
    // The size comes first: what the encoding computes from it must not overflow.
    const auto open = text.find('[');
    if (open < close && close != text.npos) {
      require_size(at, guarded(at, [&] {
                     return parse_shape(std::string_view(text).substr(open, close - open + 1));
                   }));
    }
    const TensorType type = guarded(at, [&] { return parse_type(text); });
    if (!type.encoding.packed_layout().empty()) {
      at.fail(type.text(), " is packed for a kernel; files hold logical storage");
    }
    return type;
  }

  static std::vector<TensorType> read_types(const JsonAt& at) {
    if (!at.value().is_array()) return {read_type(at)};
    std::vector<TensorType> out;
    at.each([&](const JsonAt& item) { out.push_back(read_type(item)); });
    if (out.empty()) at.fail("expected a type or a list of them, got none");
    return out;
  }

  static std::string types_text(const std::vector<TensorType>& types) {
    std::string out;
    for (const TensorType& type : types) out += (out.empty() ? "" : ", ") + type.text();
    return out;
  }

  // Integers are kept far from where sums and products of them overflow; names of random streams
  // are any 64 bits.
  AttrValue read_attr(const JsonAt& at, const OpDef& op, AttrKind kind) const {
    switch (kind) {
      case AttrKind::integer:
        return op.has(kRandom) ? at.integer() : at.integer(-kMaxDim, kMaxDim);
      case AttrKind::real:
        if (at.value().is_string()) {
          const std::string text = at.text();
          if (text == "nan" || text == "-nan" || text == "inf" || text == "-inf") {
            return parse_attr(graph_.ops(), kind, text);
          }
        }
        return at.number();
      case AttrKind::boolean:
        return at.boolean();
      case AttrKind::string:
        return at.text();
      case AttrKind::integers:
        return at.integers("a list of integers", -kMaxDim, kMaxDim);
      case AttrKind::shape: {
        const std::string text = at.text("a shape such as \"[batch,784]\"");
        if (text.size() > kMaxTypeText)
          at.fail("expected a shape, got ", text.size(), " characters");
        const Shape shape = guarded(at, [&] { return parse_shape(text); });
        require_size(at, shape);
        return shape;
      }
      case AttrKind::dtype:
        return guarded(at, [&] { return parse_attr(graph_.ops(), kind, at.text("a dtype")); });
      case AttrKind::program:
        return guarded(at, [&] { return parse_program_attr(graph_.ops(), at.text("a program")); });
    }
    return {};
  }

  Attrs read_attrs(const JsonAt& at, const OpDef& op) const {
    Attrs out;
    for (const auto& [name, value] : at.fields("an object of attributes")) {
      const AttrDef* found = nullptr;
      for (const AttrDef& def : op.attrs) {
        if (def.name == name) found = &def;
      }
      if (found == nullptr) value.fail("[", op.name, "] has no attribute ", quote(name));
      out.set(name, read_attr(value, op, found->kind));
    }
    return out;
  }

  // A node's id, or [id, result].
  Value read_value(const JsonAt& at) const {
    const auto count = static_cast<std::int64_t>(nodes_.size());
    const bool pair = at.value().is_array();
    if (pair && at.size() != 2) at.fail("expected [node, result], got ", at.size(), " items");
    const JsonAt node = pair ? at.item(0) : at;
    const std::int64_t id = node.integer();
    if (id < 0 || id >= count) {
      node.fail("expected an earlier node, ",
                count ? cat("0 to ", count - 1) : "of which there is none", ", got ", id,
                " (a graph has no cycles)");
    }
    const Node& found = *nodes_[static_cast<std::size_t>(id)];
    const auto results = static_cast<std::int64_t>(found.types().size());
    return found.output(pair ? static_cast<int>(at.item(1).integer(0, results - 1)) : 0);
  }

  void read_node(const JsonAt& at) {
    at.only({"id", "op", "name", "inputs", "attrs", "type"});
    const auto position = static_cast<std::int64_t>(nodes_.size());
    if (const std::int64_t id = at.at("id").integer(); id != position) {
      at.at("id").fail("expected ", position, ", the node's position, got ", id);
    }
    const std::string op_name = at.at("op").text("the name of an op");
    const OpDef* op = graph_.ops().find(op_name);
    if (op == nullptr)
      at.at("op").fail("unknown op ", quote(op_name),
                       "; an op of one's own is registered (OpSet::add) before loading");
    if (op == graph_.ops().core().repack) {
      at.at("op").fail("'", op->name, "' is placed by the compiler; files hold logical storage");
    }
    const std::vector<TensorType> types = read_types(at.at("type"));
    const Node& node = is_named_leaf(*op) ? read_leaf(at, *op, types) : read_computed(at, *op);
    const auto agree = [](const TensorType& a, const TensorType& b) { return a.agrees(b); };
    if (!std::equal(node.types().begin(), node.types().end(), types.begin(), types.end(), agree)) {
      at.at("type").fail("[", op->name, "] gives ", types_text(node.types()), ", the file says ",
                         types_text(types));
    }
    nodes_.push_back(&node);
  }

  const Node& read_leaf(const JsonAt& at, const OpDef& op, const std::vector<TensorType>& types) {
    if (at.has("inputs")) at.at("inputs").fail("[", op.name, "] has no inputs");
    if (at.has("attrs")) at.at("attrs").fail("[", op.name, "] has no attributes");
    const std::string name = at.at("name").text();
    if (name.empty()) at.at("name").fail("[", op.name, "] needs a name");
    if (graph_.find_leaf(name) != nullptr) at.at("name").fail(quote(name), " occurs twice");
    const JsonAt type = at.at("type");
    if (types.size() != 1) type.fail("[", op.name, "] has one type, got ", types.size());
    if (!types[0].encoding.is_dense()) {
      type.fail("[", op.name, "] is dense, got ", types[0].text(),
                "; a codebook is bound by its own op");
    }
    if (&op == &kInput) return *graph_.input(name, types[0]).node;
    if (types[0].shape.is_symbolic()) {
      type.fail("[", op.name, "] needs a fixed shape, got ", types[0].text());
    }
    if (&op == &kParam) return *graph_.param(name, types[0]).node;
    return *graph_.state(name, types[0]).node;
  }

  const Node& read_computed(const JsonAt& at, const OpDef& op) {
    std::vector<Value> inputs;
    if (const auto list = at.find("inputs")) {
      list->each(
          [&](const JsonAt& item) {
            inputs.push_back(item.value().is_null() ? Value() : read_value(item));
          },
          "a list of inputs");
    }
    Attrs attrs;
    if (const auto object = at.find("attrs")) attrs = read_attrs(*object, op);
    std::string name;
    if (const auto text = at.find("name")) name = text->text();
    return *guarded(
        at, [&] { return &graph_.add(op, std::move(inputs), std::move(attrs), std::move(name)); });
  }

  void read_output(const JsonAt& at) {
    at.only({"name", "value"});
    const std::string name = at.at("name").text();
    if (!output_names_.insert(name).second) at.at("name").fail(quote(name), " occurs twice");
    graph_.set_output(name, read_value(at.at("value")));
  }

  void read_update(const JsonAt& at) {
    at.only({"state", "value"});
    const Value state = read_value(at.at("state")), value = read_value(at.at("value"));
    guarded(at, [&] { graph_.set_update(state, value); });
  }

  const JsonAt& root_;
  Graph graph_;
  std::vector<const Node*> nodes_;
  std::set<std::string> output_names_;
};

}  // namespace

std::string graph_to_json(const Graph& graph, const std::map<std::string, std::string>& settings,
                          const std::optional<WeightsFile>& weights,
                          const std::map<std::string, std::string>& attached) {
  std::string out = cat("{\"format\":\"", kFormat, "\",\"version\":", kVersion, ",\n");
  if (!settings.empty()) out += cat("\"settings\":", json_text(Json(settings)), ",\n");
  if (!attached.empty()) out += cat("\"attached\":", json_text(Json(attached)), ",\n");
  if (weights) {
    Json file = {{"file", weights->name}, {"sha256", weights->sha256}};
    if (!weights->coding.empty()) file["coding"] = weights->coding;
    out += cat("\"weights\":", json_text(file), ",\n");
  }
  out += "\"nodes\":[";
  for (const Node& node : graph.nodes()) out += cat(node.id() ? ",\n" : "\n", node_json(node));
  out += "],\n\"outputs\":[";
  const char* separator = "";
  for (const auto& [name, value] : graph.outputs()) {
    out += cat(separator, "{\"name\":", json_text(name),
               ",\"value\":", json_text(value_json(value)), "}");
    separator = ",";
  }
  out += "]";
  separator = ",\n\"updates\":[";
  for (const auto& [state, value] : graph.updates()) {
    out += cat(separator, "{\"state\":", json_text(value_json(state)),
               ",\"value\":", json_text(value_json(value)), "}");
    separator = ",";
  }
  return out + (graph.updates().empty() ? "}\n" : "]}\n");
}

GraphDocument parse_graph_document(const OpSet& ops, std::string_view text,
                                   const std::string& file) {
  const Json json = parse_json(text, file, {.max_depth = kMaxDepth});
  const JsonAt root(json, file);
  GraphDocument out = Reader(ops, root).read();
  out.graph.set_source(file);
  return out;
}

GraphDocument read_graph_document(const std::filesystem::path& path, const OpSet& ops) {
  InputFile file(path);
  require_json_memory(file.size(), file.size(), path.string());
  return parse_graph_document(ops, file.all(), path.string());
}

Graph graph_from_json(const OpSet& ops, std::string_view text, const std::string& file) {
  return parse_graph_document(ops, text, file).graph;
}

}  // namespace tessera
