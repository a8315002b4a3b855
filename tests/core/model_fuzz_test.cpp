// Damaged JSON graphs and graph texts: an Error or a graph that is whole, never anything else.
#include <gtest/gtest.h>

#include "core/files/graph_json.h"
#include "core/files/json_io.h"
#include "core/graph_text.h"
#include "core/verify.h"
#include "tests/core/sample_models.h"
#include "tests/malformed/graph_cases.h"

namespace tessera {
namespace {

// A few bytes changed, removed, doubled, or taken from elsewhere in the text.
std::string mutate_bytes(std::string text, Rng& rng) {
  static constexpr std::string_view kBytes = "0123456789-.,:[]{}\"@%_ aebntfx\n\\\x80\xff";
  for (std::uint64_t n = 1 + rng.below(4); n > 0 && !text.empty(); --n) {
    const std::size_t at = rng.below(text.size());
    const std::size_t length = std::min<std::size_t>(1 + rng.below(12), text.size() - at);
    switch (rng.below(5)) {
      case 0:
        text[at] = kBytes[rng.below(kBytes.size())];
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, text.substr(at, length));
        break;
      case 3:
        text.insert(at, text.substr(rng.below(text.size()), length));
        break;
      default:
        text.insert(at, 1, kBytes[rng.below(kBytes.size())]);
    }
  }
  return text;
}

// A value somewhere in the document, or the document.
Json* random_place(Json& root, Rng& rng) {
  Json* at = &root;
  while (at->is_structured() && !at->empty() && rng.below(6) != 0) {
    auto it = at->begin();
    std::advance(it, static_cast<std::ptrdiff_t>(rng.below(at->size())));
    at = &*it;
  }
  return at;
}

// Values exchanged, moved, removed, or replaced by extreme ones: syntax stays right.
Json mutate_values(Json root, Rng& rng) {
  static const std::vector<Json> kExtremes = {nullptr,
                                              true,
                                              false,
                                              0,
                                              1,
                                              -1,
                                              2,
                                              3,
                                              63,
                                              64,
                                              255,
                                              1 << 30,
                                              std::int64_t{1} << 31,
                                              std::numeric_limits<std::int64_t>::max(),
                                              std::numeric_limits<std::int64_t>::min(),
                                              std::numeric_limits<std::uint64_t>::max(),
                                              0.5,
                                              1e300,
                                              "",
                                              "x",
                                              "nan",
                                              "[2147483648]",
                                              "[batch]",
                                              "[]",
                                              "[2,3]",
                                              "[0]",
                                              "f32[]",
                                              "f32[2147483648,2147483648]",
                                              "u8[batch]",
                                              "f32[3,4]@cb8",
                                              "f32[3,4]@cb1/g1s1v2",
                                              Json::array(),
                                              Json::object(),
                                              Json::array({0, 0}),
                                              Json::array({1, 1, 1, 1})};
  for (std::uint64_t n = 1 + rng.below(3); n > 0; --n) {
    Json* place = random_place(root, rng);
    switch (rng.below(4)) {
      case 0:
        *place = kExtremes[rng.below(kExtremes.size())];
        break;
      case 1:
        *place = Json(*random_place(root, rng));
        break;
      case 2:
        if (place->is_number_integer()) {
          const auto n = place->get<std::uint64_t>() + (rng.below(2) ? 1u : ~std::uint64_t{0});
          *place = static_cast<std::int64_t>(n);
        }
        break;
      default:
        if (place->is_structured() && !place->empty()) {
          auto it = place->begin();
          std::advance(it, static_cast<std::ptrdiff_t>(rng.below(place->size())));
          place->erase(it);
        }
    }
  }
  return root;
}

class Tally {
 public:
  void check(const std::string& text) {
    Graph graph(ops::standard_ops());
    try {
      graph = graph_from_json(ops::standard_ops(), text, "fuzz");
    } catch (const Error& error) {
      const std::string_view what = error.what();
      EXPECT_TRUE(what.starts_with("fuzz: ")) << what;
      EXPECT_EQ(what.find('\n'), what.npos) << what;
      EXPECT_LT(what.size(), 1000u) << what;
      ++refused;
      return;
    }
    ++loaded;
    EXPECT_NO_THROW(verify(graph, Level::built, "load")) << text;
    const std::string again = graph_to_json(graph);
    EXPECT_EQ(graph_to_json(graph_from_json(graph.ops(), again, "again")), again);
    const std::string lines = graph_text(graph);
    EXPECT_EQ(graph_text(parse_graph(graph.ops(), lines)), lines);
  }
  int loaded = 0, refused = 0;
};

std::vector<std::string> valid_documents() {
  return {testing::kValidGraph, graph_to_json(testing::awkward_graph()),
          graph_to_json(testing::small_model().graph)};
}

TEST(ModelFuzz, Bytes) {
  const auto valid = valid_documents();
  Rng rng(11, stable_id("bytes"));
  Tally tally;
  for (int i = 0; i < 6000; ++i) tally.check(mutate_bytes(valid[rng.below(valid.size())], rng));
  EXPECT_GT(tally.loaded, 30);
  EXPECT_GT(tally.refused, 3000);
}

TEST(ModelFuzz, Values) {
  std::vector<Json> valid;
  for (const auto& text : valid_documents()) valid.push_back(parse_json(text, "valid"));
  Rng rng(12, stable_id("values"));
  Tally tally;
  for (int i = 0; i < 10000; ++i) {
    tally.check(json_text(mutate_values(valid[rng.below(valid.size())], rng)));
  }
  EXPECT_GT(tally.loaded, 300);
  EXPECT_GT(tally.refused, 5000);
}

// Every op: its own sample's document with values of all kinds in every place.
TEST(ModelFuzz, EveryOp) {
  Rng rng(13, stable_id("ops"));
  Tally tally;
  for (const OpDef* op : ops::standard_ops().all()) {
    if (op == ops::standard_ops().core().repack) continue;
    for (int s = 0; op->sample != nullptr && s < 4; ++s) {
      const auto sample = op->sample(rng, s);
      if (!sample) break;
      const Json valid =
          parse_json(graph_to_json(testing::sample_graph(*op, *sample)), std::string(op->name));
      for (int i = 0; i < 60; ++i) tally.check(json_text(mutate_values(valid, rng)));
    }
  }
  EXPECT_GT(tally.loaded, 300);
  EXPECT_GT(tally.refused, 3000);
}

TEST(GraphTextFuzz, ErrorOrGraph) {
  const std::vector<std::string> valid = {graph_text(testing::awkward_graph()),
                                          graph_text(testing::small_model().graph)};
  Rng rng(14, stable_id("text"));
  int loaded = 0, refused = 0;
  for (int i = 0; i < 10000; ++i) {
    const std::string text = mutate_bytes(valid[rng.below(valid.size())], rng);
    try {
      const Graph graph = parse_graph(ops::standard_ops(), text);
      const std::string again = graph_text(graph);
      EXPECT_EQ(graph_text(parse_graph(graph.ops(), again)), again);
      ++loaded;
    } catch (const Error& error) {
      EXPECT_TRUE(std::string_view(error.what()).starts_with("line ")) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(loaded, 100);
  EXPECT_GT(refused, 5000);
}

}  // namespace
}  // namespace tessera
