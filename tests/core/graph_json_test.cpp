#include "core/files/graph_json.h"

#include <gtest/gtest.h>

#include "core/files/json_io.h"
#include "core/graph_text.h"
#include "tests/core/sample_models.h"
#include "tests/malformed/graph_cases.h"

namespace tessera {
namespace {

std::string message_of(const std::string& text) {
  try {
    parse_graph_document(ops::standard_ops(), text, "m.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_round_trip(const Graph& graph) {
  const std::string json = graph_to_json(graph);
  const Graph again = graph_from_json(graph.ops(), json, "graph.json");
  EXPECT_EQ(graph_text(again), graph_text(graph));
  EXPECT_EQ(graph_to_json(again), json);
}

TEST(GraphJson, RoundTrips) {
  expect_round_trip(Graph(ops::standard_ops()));
  expect_round_trip(testing::awkward_graph());
  expect_round_trip(testing::small_model().graph);
  expect_round_trip(specialize(testing::small_model().graph, 7));
}

TEST(GraphJson, RoundTripsEveryOp) {
  Rng rng(3, 3);
  for (const OpDef* op : ops::standard_ops().all()) {
    if (op == ops::standard_ops().core().repack) continue;  // not in files
    for (int i = 0; op->sample != nullptr; ++i) {
      const auto sample = op->sample(rng, i);
      if (!sample) break;
      SCOPED_TRACE(cat(op->name, " ", i));
      expect_round_trip(testing::sample_graph(*op, *sample));
    }
  }
}

TEST(GraphJson, KeepsSettingsAndWeights) {
  const Model model = testing::small_model();
  const std::string sha(64, 'a');
  const std::string json = graph_to_json(model.graph, model.settings, WeightsFile{"m-x.st", sha});
  const GraphDocument read = parse_graph_document(ops::standard_ops(), json, "m.json");
  EXPECT_EQ(read.settings, model.settings);
  ASSERT_TRUE(read.weights.has_value());
  EXPECT_EQ(read.weights->name, "m-x.st");
  EXPECT_EQ(read.weights->sha256, sha);
}

TEST(GraphJson, KeepsWhatIsAttached) {
  const Graph graph = testing::small_model().graph;
  const std::map<std::string, std::string> attached = {{"vocabulary", "the\n\\n\n\xc3\xa9\n"}};
  const std::string json = graph_to_json(graph, {}, {}, attached);
  EXPECT_EQ(parse_graph_document(ops::standard_ops(), json, "m.json").attached, attached);
  EXPECT_EQ(graph_to_json(graph).find("attached"), std::string::npos);
  std::string other = json;
  other.replace(other.find("{\"vocabulary\""), 1, "[{");
  EXPECT_THROW(parse_graph_document(ops::standard_ops(), other, "m.json"), Error);
  other = json;
  other.replace(other.find("\"the"), 4, "3,\"x\":\"");
  EXPECT_NE(message_of(other).find("m.json: /attached/vocabulary: "), std::string::npos)
      << message_of(other);
}

TEST(GraphJson, PackedLenetIsSmall) {
  const Model lenet = testing::packed_mlp({784, 300, 100, 10}, {.bits = 1}, 2);
  const std::size_t bytes = graph_to_json(lenet.graph, lenet.settings).size();
  EXPECT_LE(bytes, 20480u);
  EXPECT_LE(bytes, 4000u);  // what it takes today, with room
}

TEST(GraphJson, MalformedFiles) {
  const Json valid = parse_json(testing::kValidGraph, "valid");
  EXPECT_EQ(message_of(json_text(valid)), "no error");
  for (const testing::MalformedGraph& c : testing::malformed_graphs()) {
    SCOPED_TRACE(c.pointer + " = " + c.value);
    Json bad = valid;
    const Json::json_pointer at(c.pointer);
    if (c.value.empty()) {
      bad[at.parent_pointer()].erase(at.back());
    } else {
      bad[at] = parse_json(c.value, "value");
    }
    EXPECT_EQ(message_of(json_text(bad)), "m.json: " + c.message);
  }
}

TEST(GraphJson, Nesting) {
  std::string deep = "{\"format\":\"tessera.graph\",\"version\":1,\"nodes\":";
  deep += std::string(100000, '[');
  EXPECT_EQ(message_of(deep), "m.json: byte 53: lists and objects nest deeper than 8");
}

TEST(GraphJson, Syntax) {
  EXPECT_EQ(message_of("").substr(0, 16), "m.json: byte 0: ");
  EXPECT_EQ(message_of("{\"format\":1,\"format\":1}"),
            "m.json: byte 12: key 'format' occurs twice in one object");
}

TEST(GraphJson, RefusesCompiledStorage) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({2}));
  const Value packed = graph
                           .add(*graph.ops().core().repack, {x},
                                {{"layout", std::string("panel")}, {"bytes", std::int64_t{64}}})
                           .output();
  graph.set_output("y", packed);
  EXPECT_THROW(graph_to_json(graph), Error);
}

}  // namespace
}  // namespace tessera
