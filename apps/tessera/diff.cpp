// tessera diff: two models, tensor by tensor.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <map>
#include <set>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "apps/tessera/write_json.h"
#include "core/encoding.h"
#include "core/graph_text.h"
#include "core/op_def.h"
#include "ops/load.h"
#include "quant/pack/codebook_tensor.h"
#include "quant/pack/decoded.h"
#include "quant/pack/harden.h"
#include "report/table.h"

namespace tessera::apps {

namespace {

constexpr int kDifferent = 1;  // exit code, as of diff(1)

// A model, the same without codebooks, and its tensors.
struct Side {
  explicit Side(const std::string& name)
      : file(name), model(load(name)), dense(quant::decoded(model)) {
    for (quant::TensorReport& tensor : quant::size_report(model).tensors)
      tensors.emplace(tensor.name, std::move(tensor));
    for (const Node& node : model.graph.nodes()) {
      const CodebookFormat* format = node.types()[0].encoding.codebook_format();
      if (format == nullptr || node.inputs().empty()) continue;
      const std::string& indices = node.input(0).node->name();
      codebooks.emplace(quant::CodebookTensor::weight_name(indices),
                        Codebook{indices, *format, format->index_count(node.types()[0].shape)});
    }
  }

  struct Codebook {
    std::string indices;  // the plane
    CodebookFormat format;
    std::int64_t count = 0;
  };
  std::string file;
  Model model, dense;
  std::map<std::string, quant::TensorReport> tensors;
  std::map<std::string, Codebook> codebooks;
};

// A tensor that both have.
struct TensorDifference {
  std::string name, shape, encoding[2];
  std::int64_t bytes[2] = {0, 0};
  std::optional<double> indices;  // share that differs, of codebooks with as many bits
  // ||a - b|| / ||a|| and max |a - b| of the decoded weights; none where shapes or dtypes differ.
  std::optional<double> distance, largest;
  bool alike = false;
};

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.bytes())) == 0;
}

std::int64_t bytes_of(const quant::TensorReport& t) {
  return t.index_bytes + t.codebook_bytes + t.scale_bytes + t.sparse_bytes + t.dense_bytes;
}

std::optional<double> differing_indices(const Side& a, const Side& b, const std::string& name) {
  const auto x = a.codebooks.find(name), y = b.codebooks.find(name);
  if (x == a.codebooks.end() || y == b.codebooks.end()) return std::nullopt;
  const int bits = x->second.format.bits;
  const std::int64_t count = x->second.count;
  if (bits != y->second.format.bits || count != y->second.count || count == 0) return std::nullopt;
  const auto left = a.model.state.get(x->second.indices).span<std::uint8_t>();
  const auto right = b.model.state.get(y->second.indices).span<std::uint8_t>();
  std::int64_t different = 0;
  for (std::int64_t i = 0; i < count; ++i)
    different += index_at(left.data(), bits, i) != index_at(right.data(), bits, i);
  return static_cast<double>(different) / static_cast<double>(count);
}

TensorDifference difference(const Side& a, const Side& b, const std::string& name) {
  TensorDifference out;
  out.name = name;
  const Side* sides[2] = {&a, &b};
  for (int s = 0; s < 2; ++s) {
    const quant::TensorReport& tensor = sides[s]->tensors.at(name);
    out.encoding[s] = tensor.encoding;
    out.bytes[s] = bytes_of(tensor);
  }
  const Tensor& x = a.dense.state.get(name);
  const Tensor& y = b.dense.state.get(name);
  out.shape = x.shape() == y.shape() ? x.shape().text() : cat(x.shape(), " -> ", y.shape());
  out.indices = differing_indices(a, b, name);
  out.alike = out.encoding[0] == out.encoding[1] && out.indices.value_or(0) == 0 && same_bits(x, y);
  if (x.shape() != y.shape() || x.dtype() != DType::f32 || y.dtype() != DType::f32) return out;
  const auto u = x.span<float>(), v = y.span<float>();
  double squares = 0, apart = 0, most = 0;
  for (std::size_t i = 0; i < u.size(); ++i) {
    const double d = static_cast<double>(u[i]) - v[i];
    squares += static_cast<double>(u[i]) * u[i];
    apart += d * d;
    most = std::max(most, std::abs(d));
  }
  out.distance = apart == 0 ? 0 : std::sqrt(apart / squares);
  out.largest = most;
  return out;
}

// How many nodes of each operator a graph has.
std::map<std::string, int> ops_of(const Graph& graph) {
  std::map<std::string, int> out;
  for (const Node& node : graph.nodes()) ++out[std::string(node.op().name)];
  return out;
}

// What differs of two graphs, one line each; of codebooks their dense form is compared.
std::vector<std::string> graph_differences(const Graph& a, const Graph& b) {
  std::vector<std::string> out;
  const auto ends = [&](const char* what, auto list) {
    const auto x = list(a), y = list(b);
    for (const std::string& text : x)
      if (!y.contains(text)) out.push_back(cat("- ", what, " ", text));
    for (const std::string& text : y)
      if (!x.contains(text)) out.push_back(cat("+ ", what, " ", text));
  };
  ends("input", [](const Graph& graph) {
    std::set<std::string> texts;
    for (const Node* node : graph.inputs())
      texts.insert(cat(printable(node->name()), " ", node->types()[0]));
    return texts;
  });
  ends("output", [](const Graph& graph) {
    std::set<std::string> texts;
    for (const auto& [name, value] : graph.outputs())
      texts.insert(cat(printable(name), " ", value.type()));
    return texts;
  });
  const auto x = ops_of(a), y = ops_of(b);
  std::set<std::string> names;
  for (const auto& ops : {x, y})
    for (const auto& [name, n] : ops) names.insert(name);
  for (const std::string& name : names) {
    const auto count = [&](const std::map<std::string, int>& ops) {
      const auto at = ops.find(name);
      return at == ops.end() ? 0 : at->second;
    };
    if (count(x) != count(y))
      out.push_back(cat("  ", name, " nodes: ", count(x), " -> ", count(y)));
  }
  if (out.empty() && graph_text(a) != graph_text(b))
    out.push_back("  the same operators, connected or set otherwise");
  return out;
}

struct Differences {
  std::vector<std::string> graph;
  std::vector<std::string> only[2];
  std::vector<TensorDifference> tensors;  // of both
  std::map<std::string, std::pair<std::string, std::string>> settings, attached;

  std::int64_t tensors_apart() const {
    return std::ranges::count_if(tensors, [](const auto& t) { return !t.alike; });
  }
  bool alike() const {
    return graph.empty() && only[0].empty() && only[1].empty() && tensors_apart() == 0 &&
           settings.empty() && attached.empty();
  }
};

using Texts = std::map<std::string, std::string>;
std::map<std::string, std::pair<std::string, std::string>> text_differences(const Texts& a,
                                                                            const Texts& b) {
  std::map<std::string, std::pair<std::string, std::string>> out;
  for (const auto& [name, text] : a) out[name].first = text;
  for (const auto& [name, text] : b) out[name].second = text;
  std::erase_if(out, [](const auto& item) { return item.second.first == item.second.second; });
  return out;
}

Differences compare(const Side& a, const Side& b) {
  Differences out;
  for (const auto& [name, tensor] : a.tensors) {
    if (b.tensors.contains(name)) {
      out.tensors.push_back(difference(a, b, name));
    } else {
      out.only[0].push_back(name);
    }
  }
  for (const auto& [name, tensor] : b.tensors)
    if (!a.tensors.contains(name)) out.only[1].push_back(name);
  check(!out.tensors.empty() || (a.tensors.empty() && b.tensors.empty()), a.file, " and ", b.file,
        " are different networks: no tensor of one has the name of one of the other");
  out.graph = graph_differences(a.dense.graph, b.dense.graph);
  out.settings = text_differences(a.model.settings, b.model.settings);
  out.attached = text_differences(a.model.attached, b.model.attached);
  return out;
}

std::string number(const std::optional<double>& value, double factor, int digits) {
  return value ? fixed(factor * *value, digits) : "-";
}

void print(const Differences& found, const Side& a, const Side& b, bool all, std::ostream& out) {
  for (const std::string& line : found.graph) out << "graph " << line << "\n";
  for (const auto& [name, values] : found.settings) {
    const auto shown = [](const std::string& value) {
      return value.empty() ? "(none)" : printable(value);
    };
    out << "setting " << printable(name) << ": " << shown(values.first) << " -> "
        << shown(values.second) << "\n";
  }
  for (const auto& [name, texts] : found.attached)
    out << "attached " << printable(name) << ": " << texts.first.size() << " -> "
        << texts.second.size() << " bytes, other text\n";
  for (const auto& [side, names] : {std::pair(&a, &found.only[0]), std::pair(&b, &found.only[1])})
    for (const std::string& name : *names)
      out << "tensor " << printable(name) << ": only in " << side->file << "\n";
  Table table({"tensor", "shape", "encodings", "bytes", "indices %", "distance %", "largest"});
  bool rows = false;
  for (const TensorDifference& t : found.tensors) {
    if (t.alike && !all) continue;
    const auto both = [](const auto& x, const auto& y) {
      return x == y ? cat(x) : cat(x, " -> ", y);
    };
    table.add({t.name, t.shape, both(t.encoding[0], t.encoding[1]), both(t.bytes[0], t.bytes[1]),
               number(t.indices, 100, 2), number(t.distance, 100, 3),
               t.largest ? cat(*t.largest) : "-"});
    rows = true;
  }
  if (rows) {
    table.print(out);
    out << "indices: that differ; distance: ||a - b|| / ||a|| of the weights as they decode; "
           "largest: |a - b|\n";
  }
  if (found.alike()) {
    out << "alike: graph, settings and all " << found.tensors.size() << " tensors\n";
  } else {
    out << found.tensors_apart() << " of " << found.tensors.size() << " tensors differ\n";
  }
}

Json json_of(const Differences& found) {
  Json tensors = Json::array();
  const auto optional = [](const std::optional<double>& value) {
    return value ? number_or_null(*value) : Json();
  };
  for (const TensorDifference& t : found.tensors) {
    tensors.push_back({{"name", t.name},
                       {"shape", t.shape},
                       {"encoding", {t.encoding[0], t.encoding[1]}},
                       {"bytes", {t.bytes[0], t.bytes[1]}},
                       {"differing_indices", optional(t.indices)},
                       {"relative_distance", optional(t.distance)},
                       {"largest_difference", optional(t.largest)},
                       {"alike", t.alike}});
  }
  Json settings = Json::object();
  for (const auto& [name, values] : found.settings) settings[name] = {values.first, values.second};
  Json attached = Json::array();
  for (const auto& [name, texts] : found.attached) attached.push_back(name);
  return {
      {"alike", found.alike()}, {"graph", found.graph},           {"settings", settings},
      {"attached", attached},   {"only_in_first", found.only[0]}, {"only_in_second", found.only[1]},
      {"tensors", tensors}};
}

}  // namespace

int diff_command(const std::vector<std::string>& args) {
  bool all = false;
  std::string json;
  FlagList options("options");
  auto add = options.add_options();
  add("all", on_flag(all), "also tensors that are alike");
  add("json", text_flag(json, "FILE"), "write the same as JSON; - is stdout");
  const auto files = parse_flags(
      args,
      {"tessera diff A.json B.json [options]",
       "Compares two models: graphs, settings, and every tensor by its encoding, its indices and "
       "the weights it stands for. Exit code 0 where they are alike, 1 where they differ, 2 for "
       "bad files or models without a tensor in common.",
       2,
       2,
       "two model files",
       {"tessera diff A.json B.json", "tessera diff A.json B.json --all --json diff.json"}},
      options);
  if (!files) return kExitDone;
  const Side a((*files)[0]), b((*files)[1]);
  const Differences found = compare(a, b);
  print(found, a, b, all, json == "-" ? std::cerr : std::cout);
  if (!json.empty()) write_json(json, json_of(found));
  return found.alike() ? kExitDone : kDifferent;
}

}  // namespace tessera::apps
