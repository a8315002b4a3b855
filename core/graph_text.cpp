#include "core/graph_text.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>

#include "core/op_def.h"
#include "core/text.h"

namespace tessera {

namespace {

constexpr std::string_view kHex = "0123456789abcdef";

// Names may hold anything; a line may not.
std::string quoted(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return '"' + escaped(out) + '"';
}

std::string value_text(Value v) {
  if (!v) return "_";
  return v.index == 0 ? cat('%', v.node->id()) : cat('%', v.node->id(), '.', v.index);
}

std::string attrs_text(const Node& node) {
  std::string out;
  for (const auto& [name, value] : node.attrs().items()) {
    bool is_default = false;
    for (const AttrDef& def : node.op().attrs) {
      if (def.name == name) is_default = def.fallback && same_attr(*def.fallback, value);
    }
    if (is_default) continue;
    const auto* string = std::get_if<std::string>(&value);
    out += cat(out.empty() ? " {" : ", ", name, '=', string ? quoted(*string) : attr_text(value));
  }
  return out.empty() ? out : out + "}";
}

bool is_named_leaf(const OpDef& op) {
  return op.has(kLeaf) && &op != &kConstant;
}

}  // namespace

std::string node_text(const Node& node) {
  std::string out = cat('%', node.id(), ": ");
  for (std::size_t i = 0; i < node.types().size(); ++i) {
    out += cat(i ? ", " : "", node.types()[i].text());
  }
  out += cat(" = ", node.op().name);
  if (is_named_leaf(node.op())) return cat(out, ' ', quoted(node.name()));
  if (!node.inputs().empty()) {
    for (std::size_t i = 0; i < node.inputs().size(); ++i) {
      out += cat(i ? ", " : "(", value_text(node.inputs()[i]));
    }
    out += ')';
  }
  out += attrs_text(node);
  if (!node.name().empty()) out += cat(' ', quoted(node.name()));
  return out;
}

std::string graph_text(const Graph& graph) {
  std::string out;
  for (const Node& node : graph.nodes()) out += cat(node_text(node), '\n');
  for (const auto& [name, value] : graph.outputs()) {
    out += cat("output ", quoted(name), " = ", value_text(value), '\n');
  }
  for (const auto& [state, value] : graph.updates()) {
    out += cat("update ", value_text(state), " = ", value_text(value), '\n');
  }
  return out;
}

namespace {

// One line of the text form.
class Line {
 public:
  Line(Graph& graph, std::map<int, const Node*>& nodes, std::string_view text)
      : graph_(graph), nodes_(nodes), text_(text) {}

  void read() {
    if (take("output ")) {
      read_output();
    } else if (take("update ")) {
      const Value state = value();
      expect(" = ");
      graph_.set_update(state, value());
    } else {
      read_node();
    }
    if (!text_.empty()) bad("the end of the line");
  }

 private:
  [[noreturn]] void bad(std::string_view wanted) const {
    fail("expected ", wanted,
         text_.empty() ? std::string(" at the end") : cat(" at '", text_.substr(0, 40), "'"));
  }
  bool take(std::string_view token) {
    if (!text_.starts_with(token)) return false;
    text_.remove_prefix(token.size());
    return true;
  }
  void expect(std::string_view token) {
    if (!take(token)) bad(cat("'", token, "'"));
  }

  int number() {
    int n = -1;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), n);
    if (error != std::errc() || n < 0) bad("a number");
    text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
    return n;
  }

  std::string_view word(std::string_view wanted) {
    std::size_t n = 0;
    while (n < text_.size() && (text_[n] == '_' || text_[n] == '.' ||
                                std::isalnum(static_cast<unsigned char>(text_[n])))) {
      ++n;
    }
    if (n == 0) bad(wanted);
    const std::string_view out = text_.substr(0, n);
    text_.remove_prefix(n);
    return out;
  }

  std::string string() {
    if (!take("\"")) bad("a quoted text");
    std::string out;
    while (!take("\"")) {
      if (text_.empty()) bad("a closing quote");
      if (take("\\x")) {
        if (text_.size() < 2) bad("two hexadecimal digits");
        const auto high = kHex.find(text_[0]), low = kHex.find(text_[1]);
        if (high == kHex.npos || low == kHex.npos) bad("two hexadecimal digits");
        out += static_cast<char>(high * 16 + low);
        text_.remove_prefix(2);
        continue;
      }
      if (take("\\") && text_.empty()) bad("an escaped character");
      out += text_.front();
      text_.remove_prefix(1);
    }
    return out;
  }

  Value value() {
    expect("%");
    const int id = number();
    const auto found = nodes_.find(id);
    check(found != nodes_.end(), "%", id, " is not defined above this line");
    const int index = take(".") ? number() : 0;
    const auto count = found->second->types().size();
    check(static_cast<std::size_t>(index) < count, "%", id, " has ", count, " results, got .",
          index);
    return found->second->output(index);
  }

  void read_output() {
    const std::string name = string();
    expect(" = ");
    const Value result = value();
    for (const auto& output : graph_.outputs()) {
      check(output.first != name, "output '", name, "' is set twice");
    }
    graph_.set_output(name, result);
  }

  // "f32[batch,2]@cb4": to the comma or space after the dimensions.
  TensorType type() {
    const auto close = text_.find(']');
    if (close == text_.npos) bad("a type");
    const auto end = std::min(text_.find_first_of(", ", close), text_.size());
    check(end <= 500, "expected a type, got ", end, " characters");
    TensorType out = parse_type(text_.substr(0, end));
    text_.remove_prefix(end);
    return out;
  }

  AttrValue attr_value(const OpDef& op, std::string_view name) {
    const AttrDef* found = nullptr;
    for (const AttrDef& def : op.attrs) {
      if (def.name == name) found = &def;
    }
    check(found != nullptr, "[", op.name, "] has no attribute '", name, "'");
    if (found->kind == AttrKind::string) return string();
    if (found->kind == AttrKind::program) return parse_program_attr(graph_.ops(), string());
    const std::size_t from = text_.starts_with("[") ? std::min(text_.find(']'), text_.size()) : 0;
    const auto end = std::min(text_.find_first_of(",}", from), text_.size());
    const std::string_view text = text_.substr(0, end);
    text_.remove_prefix(end);
    try {
      return parse_attr(graph_.ops(), found->kind, text);
    } catch (const Error& error) {
      fail("[", op.name, "] attribute '", name, "': ", error.what());
    }
  }

  void read_node() {
    if (!take("%")) bad("a node, output or update");
    const int id = number();
    check(!nodes_.contains(id), "%", id, " is defined twice");
    expect(": ");
    std::vector<TensorType> types = {type()};
    while (take(", ")) types.push_back(type());
    expect(" = ");
    const std::string_view name = word("the name of an op");
    const OpDef* op = graph_.ops().find(name);
    check(op != nullptr, "unknown op '", name, "'");
    const Node& node = is_named_leaf(*op) ? leaf(*op, types[0]) : computed(*op);
    const auto agree = [](const TensorType& a, const TensorType& b) { return a.agrees(b); };
    check(std::equal(node.types().begin(), node.types().end(), types.begin(), types.end(), agree),
          "[", name, "] gives ", types_text(node.types()), ", the line says ", types_text(types));
    nodes_[id] = &node;
  }

  static std::string types_text(const std::vector<TensorType>& types) {
    std::string out;
    for (const TensorType& type : types) out += (out.empty() ? "" : ", ") + type.text();
    return out;
  }

  const Node& leaf(const OpDef& op, const TensorType& type) {
    expect(" ");
    const std::string name = string();
    check(graph_.find_leaf(name) == nullptr, "'", name, "' is defined twice");
    if (&op == &kInput) return *graph_.input(name, type).node;
    if (&op == &kParam) return *graph_.param(name, type).node;
    return *graph_.state(name, type).node;
  }

  const Node& computed(const OpDef& op) {
    std::vector<Value> inputs;
    if (take("(")) {
      do {
        inputs.push_back(take("_") ? Value() : value());
      } while (take(", "));
      expect(")");
    }
    Attrs attrs;
    if (take(" {")) {
      do {
        const std::string_view name = word("an attribute");
        expect("=");
        check(attrs.find(name) == nullptr, "attribute '", name, "' is given twice");
        attrs.set(name, attr_value(op, name));
      } while (take(", "));
      expect("}");
    }
    std::string name;
    if (take(" ")) name = string();
    return graph_.add(op, std::move(inputs), std::move(attrs), std::move(name));
  }

  Graph& graph_;
  std::map<int, const Node*>& nodes_;
  std::string_view text_;
};

}  // namespace

Graph parse_graph(const OpSet& ops, std::string_view text) {
  Graph graph(ops);
  std::map<int, const Node*> nodes;
  for (int number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    try {
      Line(graph, nodes, line).read();
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {  // an op's own assertion too: the text broke it
      fail("line ", number, ": ", error.what());
    }
  }
  return graph;
}

}  // namespace tessera
