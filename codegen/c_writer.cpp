#include "codegen/c_writer.h"

#include <algorithm>
#include <cctype>
#include <regex>

#include "codegen/c_helpers.h"
#include "codegen/c_ops.h"
#include "codegen/c_text.h"
#include "core/plan_data.h"
#include "core/text.h"
#include "core/words.h"
#include "ops/codebook/codebook.h"
#include "ops/codebook/node_view.h"
#include "ops/elementwise/elementwise.h"

namespace tessera {

namespace {

// What a parameter of the run function must not be called: keywords, and what its body uses.
bool is_reserved(const std::string& name) {
  static const std::set<std::string> words = {
      "auto",     "break",   "case",    "char",     "const",    "continue", "default",  "do",
      "double",   "else",    "enum",    "extern",   "float",    "for",      "goto",     "if",
      "inline",   "int",     "long",    "register", "restrict", "return",   "short",    "signed",
      "sizeof",   "static",  "struct",  "switch",   "typedef",  "union",    "unsigned", "void",
      "volatile", "while",   "scratch", "buffer",   "memcpy",   "memmove",  "memset",   "int8_t",
      "uint8_t",  "int32_t", "int64_t", "INFINITY", "NAN",      "class",    "private",  "template",
      "new",      "delete",  "this"};
  static const std::regex loop("i|[ait][0-9]+");  // indices and operands of its loops
  return words.contains(name) || std::regex_match(name, loop);
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

constexpr std::int64_t kFloat = 4;

}  // namespace

CWriter::CWriter(const Graph& graph, const State& state, const Inputs& inputs,
                 const std::string& prefix)
    : graph_(graph),
      state_(state),
      prefix_(prefix + "_"),
      live_(live_nodes(graph)),
      fixed_(graph.nodes().size()) {
  FixedNodes fixed(graph);
  for (const Node& node : graph.nodes()) {
    const auto at = static_cast<std::size_t>(node.id());
    fixed_[at] = fixed(node);
    if (!live_[at]) continue;
    for (const Value v : node.inputs()) {
      if (v) used_.insert({v.node, v.index});
    }
  }
  for (const auto& [name, value] : graph.outputs()) used_.insert({value.node, value.index});
  name_arguments(inputs);
}

void CWriter::write() {
  refuse_unknown();
  evaluate_fixed();
  place_values();
  for (const Node& node : graph_.nodes()) {
    if (!is_step(node)) continue;
    line(cat("/* ", node.op().name, " ", node.types()[0].text(), " */"));
    c_operator(node.op())(*this, node);
  }
  write_outputs();
}

bool CWriter::is_step(const Node& node) const {
  const auto at = static_cast<std::size_t>(node.id());
  return live_[at] && !fixed_[at] && !node.op().has(kLeaf) && !node.op().has(kView);
}

Value CWriter::root(Value value) const {
  while (value.node->op().has(kView) && value.type().encoding.is_dense())
    value = value.node->input(0);
  return value;
}

bool CWriter::reads_stored(const Node& user, std::size_t input) const {
  const Value v = user.inputs()[input];
  return &v.node->op() == &kCodebook && user.op().input_def(input).encoded &&
         std::ranges::all_of(v.node->inputs(),
                             [](Value plane) { return !plane || plane.node->op().has(kLeaf); });
}

void CWriter::refuse_unknown() const {
  std::map<std::string, std::vector<std::string>> reasons;
  for (const Node& node : graph_.nodes()) {
    if (!is_step(node)) continue;
    std::string reason = c_refuses(*this, node);
    for (const TensorType& type : node.types()) {
      if (reason.empty() && !c_type(type.dtype)) reason = cat("makes ", name(type.dtype));
      if (reason.empty() && !type.encoding.packed_layout().empty()) reason = "packed for a kernel";
    }
    if (reason.empty()) continue;
    const std::string who = node.name().empty() ? cat("%", node.id()) : node.name();
    reasons[cat(node.op().name, " (", reason, ")")].push_back(who);
  }
  if (reasons.empty()) return;
  std::string list;
  for (const auto& [what, who] : reasons) {
    list +=
        cat(list.empty() ? "" : "; ", what, ": ", who.size(), who.size() == 1 ? " node" : " nodes",
            ", ", quote(who.front()), who.size() > 1 ? " and others" : "");
  }
  fail("this network cannot be written as C: ", list);
}

void CWriter::name_arguments(const Inputs& leaves) {
  const auto fresh = [&](std::string_view label) {
    std::string name = c_identifier(label);
    // The file's own names begin so.
    if (name.starts_with(prefix_) || name.starts_with("tessera_")) name.insert(0, "the_");
    // Macros have them in capitals.
    while (is_reserved(name) || taken_.contains(upper(name))) name += "_";
    taken_.insert(upper(name));
    return name;
  };
  std::map<std::string, int> inputs;
  for (const auto& [label, type] : leaves) {
    check(c_type(type.dtype).has_value(), "input ", Quoted{label}, " is ", type.text(),
          "; C has no type for it");
    inputs[label] = static_cast<int>(arguments_.size());
    arguments_.push_back({fresh(label), type, label});
    const std::string name = arguments_.back().name;
    if (const Node* leaf = graph_.find_leaf(label)) {
      names_[{leaf, 0}] = name;
    } else {
      line(cat("(void)", name, ";"));
    }
  }
  input_count_ = arguments_.size();
  check(!graph_.outputs().empty(), "the graph has no outputs");
  for (const auto& [label, value] : graph_.outputs()) {
    check(value.type().encoding.is_dense() && c_type(value.type().dtype), "output ", Quoted{label},
          " is ", value.type().text(), "; C has no type for it");
    Argument out{fresh(label), value.type(), label, true};
    for (const auto& [input, at] : inputs) {
      const bool same = arguments_[static_cast<std::size_t>(at)].type == value.type();
      if (next_name(input) == label && same) out.carried = at;
    }
    // A carried value may be written over the one it follows: last of all.
    const Value source = root(value);
    if (out.carried < 0 && is_step(*source.node) &&
        !direct_.contains({source.node, source.index})) {
      direct_[{source.node, source.index}] = out.name;
    }
    arguments_.push_back(std::move(out));
  }
}

// Values that no input changes (batch-norm's factors, say) are computed here, by a plan.
void CWriter::evaluate_fixed() {
  std::set<Key> wanted;
  const auto want = [&](Value value) {
    const Value source = root(value);
    if (is_fixed(*source.node)) wanted.insert({source.node, source.index});
  };
  for (const Node& node : graph_.nodes()) {
    if (!is_step(node)) continue;
    for (std::size_t i = 0; i < node.inputs().size(); ++i) {
      if (node.inputs()[i] && !reads_stored(node, i)) want(node.inputs()[i]);
    }
  }
  for (const auto& [name, value] : graph_.outputs()) want(value);
  Graph fixed(graph_.ops());
  GraphMap map(graph_);
  std::vector<Key> computed;
  for (const Node& node : graph_.nodes()) {
    if (live_[static_cast<std::size_t>(node.id())] && is_fixed(node)) {
      std::vector<Value> inputs;
      for (const Value v : node.inputs()) inputs.push_back(v ? map[v] : Value());
      map.set(node, copy_node(fixed, node, std::move(inputs)));
    }
  }
  for (const Key& key : wanted) {
    const Value value{key.first, key.second};
    if (state_.has(value.node->name()) && value.node->op().has(kLeaf) &&
        &value.node->op() != &kConstant) {
      values_[key] = state_.get(value.node->name());
      continue;
    }
    Value copy = map[value];
    if (!value.type().encoding.is_dense()) {
      copy = fixed.add(*graph_.ops().core().decode, {copy}).output();
      const Value indices = value.node->input(0);
      decoded_.emplace_back(indices.node->name(), value.shape().numel() * kFloat);
    }
    fixed.set_output(std::to_string(computed.size()), copy);
    computed.push_back(key);
  }
  if (computed.empty()) return;
  fixed.set_source(graph_.source());
  auto results = compile(fixed, state_, {}).run({});
  for (std::size_t i = 0; i < computed.size(); ++i)
    values_[computed[i]] = std::move(results.at(std::to_string(i)));
}

// Each value between steps gets a place in the scratch, or is an argument.
void CWriter::place_values() {
  std::map<Key, Lifetime> lives;
  std::vector<Key> order;
  std::vector<Buffer> buffers;
  int step = 0;
  const auto touch = [&](Value value) {
    const Value source = root(value);
    if (const auto at = lives.find({source.node, source.index}); at != lives.end())
      at->second.last = step;
  };
  for (const Node& node : graph_.nodes()) {
    if (!is_step(node)) continue;
    for (const Value v : node.inputs()) {
      if (v) touch(v);
    }
    for (int i = 0; i < static_cast<int>(node.types().size()); ++i) {
      const TensorType& type = node.types()[static_cast<std::size_t>(i)];
      const Key key{&node, i};
      if (const auto out = direct_.find(key); out != direct_.end()) {
        names_[key] = out->second;
        continue;
      }
      if (i > 0 && !used_.contains(key)) continue;
      lives[key] = {static_cast<int>(buffers.size()), step, step};
      order.push_back(key);
      buffers.push_back(
          {Buffer::Kind::arena, type.shape.numel() * size_of(type.dtype), 0, {}, type, 0});
    }
    ++step;
  }
  for (const auto& [name, value] : graph_.outputs()) touch(value);
  std::vector<Lifetime> lifetimes;
  for (const Key& key : order) lifetimes.push_back(lives[key]);
  arena_bytes_ = plan_arena(buffers, lifetimes);
  for (const Key& key : order) {
    const auto& [node, index] = key;
    const Buffer& buffer = buffers[static_cast<std::size_t>(lives[key].buffer)];
    const std::string type(*c_type(buffer.type.dtype));
    const std::string name =
        index == 0 ? cat("tessera_t", node->id()) : cat("tessera_t", node->id(), "_", index);
    names_[key] = name;
    line(cat(type, " *const ", name, " = (", type, " *)(scratch + ", buffer.offset, ");"));
  }
}

// What is carried comes last, and what it reads of the inputs is set aside before: its arrays may
// be those of the inputs.
void CWriter::write_outputs() {
  std::vector<std::string> last;
  std::int64_t aside = 0;  // floats
  std::size_t at = input_count_;
  for (const auto& [label, value] : graph_.outputs()) {
    const Argument& out = arguments_[at++];
    const std::string from = pointer(value);
    if (from == out.name) continue;
    const std::int64_t bytes = value.shape().numel() * size_of(value.type().dtype);
    if (out.carried < 0) {
      line(cat("memcpy(", out.name, ", ", from, ", ", bytes, ");"));
    } else if (&root(value).node->op() != &kInput) {
      last.push_back(cat("memcpy(", out.name, ", ", from, ", ", bytes, ");"));
    } else {
      const std::string place = cat("buffer + ", aside);
      line(cat("memcpy(", place, ", ", from, ", ", bytes, ");"));
      last.push_back(cat("memcpy(", out.name, ", ", place, ", ", bytes, ");"));
      aside += (bytes + kFloat - 1) / kFloat;
    }
  }
  if (aside > 0) buffer(aside);
  for (const std::string& text : last) line(text);
}

std::string CWriter::pointer(Value value) {
  const Value source = root(value);
  const Key key{source.node, source.index};
  if (const auto known = names_.find(key); known != names_.end()) return known->second;
  return names_[key] = constant(values_.at(key), source.node->name());
}

std::string CWriter::constant(const Tensor& tensor, const std::string& hint) {
  std::string name = cat(prefix_, hint.empty() ? cat("c", names_.size()) : c_identifier(hint));
  while (taken_.contains(name)) name += "_";
  taken_.insert(name);
  // C has no bf16; the same values as floats.
  const Tensor stored = c_type(tensor.dtype()) ? tensor : tensor.to(DType::f32);
  arrays_ += c_array(name, stored);
  constant_bytes_ += stored.bytes();
  return name;
}

std::string CWriter::weights(Value value, std::int64_t rows) {
  need("row");
  const bool stored =
      !value.type().encoding.is_dense() && !values_.contains({value.node, value.index});
  if (stored) return "&" + codebook(*value.node);
  const std::int64_t length = value.shape().numel() / std::max<std::int64_t>(rows, 1);
  return cat("&(const tessera_weights){.dense = ", pointer(value), ", .length = ", length, "}");
}

std::string CWriter::codebook(const Node& node) {
  const Key key{&node, 0};
  if (const auto known = weights_.find(key); known != weights_.end()) return known->second;
  const Shape& shape = node.types()[0].shape;
  const CodebookFormat format = *node.types()[0].encoding.codebook_format();
  const auto plane = [&](int i) { return state_.get(node.input(i).node->name()); };
  const std::string indices = constant(plane(0), node.input(0).node->name());
  const Tensor entries = plane(1).to(DType::f32);
  const std::string entry_name = constant(entries, node.input(1).node->name());
  std::string scale = "0";
  if (format.scale_block != 0) {
    const Value s = node.input(2);
    scale = constant(plane(2).to(DType::f32), s.node->name());
  }
  const std::string name = cat(indices, "_matrix");
  const std::int64_t length = CodebookFormat::row_length(shape), groups = format.groups(shape);
  arrays_ += cat("static const tessera_weights ", name, " = {0, ", indices, ", ", entry_name, ", ",
                 scale, ", ", format.bits, ", ", format.vector_len, ", ", length, ", ",
                 format.group_rows ? format.group_rows
                                   : std::max<std::int64_t>(CodebookFormat::rows(shape), 1),
                 ", ", entries.numel() / std::max<std::int64_t>(groups * format.vector_len, 1),
                 ", ", std::max<std::int64_t>(format.block_length(shape), 1), "};\n");
  return weights_[key] = name;
}

std::string CWriter::buffer(std::int64_t floats) {
  buffer_bytes_ = std::max(buffer_bytes_, floats * kFloat);
  return "buffer";
}

void CWriter::line(const std::string& text) {
  body_ += "  " + text + "\n";
}

void CWriter::need(std::string_view helper) {
  helpers_ += c_helper(helper, written_);
}

void CWriter::call(std::string_view helper, const std::string& arguments) {
  need(helper);
  line(cat("tessera_", helper, "(", arguments, ");"));
}

std::string CWriter::formula(const OpDef& op) {
  const CFormula formula = *c_formula(op);
  const std::string mark = cat("|", formula.name, "|");
  if (written_.find(mark) == std::string::npos) {
    written_ += mark;
    for (const char* helper : {"larger", "smaller"}) {
      if (formula.text.find(cat("tessera_", helper)) != std::string::npos) need(helper);
    }
    const std::string guard = "TESSERA_C_" + c_identifier(op.name);
    helpers_ += cat("#ifndef ", guard, "\n#define ", guard, "\n", formula.text, "#endif\n\n");
  }
  return formula.name;
}

void CWriter::program(const Node& node, const Program& program, const Shape& shape,
                      const std::string* own, int first) {
  const auto dims = shape.values();
  std::vector<std::string> arrays;
  std::vector<std::vector<std::int64_t>> strides;
  if (own) {
    arrays.push_back(*own);
    strides.push_back(strides_of(dims));
  }
  for (std::size_t i = static_cast<std::size_t>(first); i < node.inputs().size(); ++i) {
    arrays.push_back(pointer(node.inputs()[i]));
    strides.push_back(broadcast_strides(node.inputs()[i].shape(), shape));
  }
  strides.push_back(strides_of(dims));
  const LoopNest nest(dims, strides);
  body_ += nest.open(2);
  const std::string indent(static_cast<std::size_t>(2 + 2 * std::max(nest.depth(), 1)), ' ');
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const bool read = std::ranges::any_of(program.code, [&](const Instruction& instruction) {
      return std::ranges::any_of(instruction.args, [&](const Operand& o) {
        return o.kind == Operand::Kind::input && o.index == static_cast<int>(i);
      });
    });
    if (read)
      body_ += cat(indent, "const float a", i, " = ", arrays[i], "[", nest.offset(i), "];\n");
  }
  for (std::size_t t = 0; t < program.code.size(); ++t) {
    const Instruction& instruction = program.code[t];
    std::string list;
    for (const Operand& o : instruction.args) {
      list += list.empty() ? "" : ", ";
      switch (o.kind) {
        case Operand::Kind::input:
          list += cat("a", o.index);
          break;
        case Operand::Kind::temp:
          list += cat("t", o.index);
          break;
        case Operand::Kind::constant:
          list += c_literal(static_cast<float>(o.value));
          break;
      }
    }
    body_ += cat(indent, "const float t", t, " = ", formula(*instruction.op), "(", list, ");\n");
  }
  for (std::size_t i = 0; i < program.outputs.size(); ++i) {
    const auto name = names_.find({&node, static_cast<int>(i)});
    if (name == names_.end()) continue;
    body_ += cat(indent, name->second, "[", nest.offset(strides.size() - 1), "] = t",
                 program.outputs[i], ";\n");
  }
  body_ += nest.close(2);
}

void CWriter::copy(const std::string& to, const std::string& from,
                   const std::vector<std::int64_t>& dims,
                   const std::vector<std::int64_t>& to_strides,
                   const std::vector<std::int64_t>& from_strides) {
  const LoopNest nest(dims, {to_strides, from_strides});
  body_ += nest.open(2);
  const std::string indent(static_cast<std::size_t>(2 + 2 * std::max(nest.depth(), 1)), ' ');
  body_ += cat(indent, "(", to, ")[", nest.offset(0), "] = (", from, ")[", nest.offset(1), "];\n");
  body_ += nest.close(2);
}

}  // namespace tessera
