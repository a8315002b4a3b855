// Model files: what loads is compiled and run, and written again as it was.
#include <string_view>

#include "core/files/graph_json.h"
#include "ops/op_list.h"
#include "tests/fuzz/exercise.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tessera;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Graph graph(ops::standard_ops());
  try {
    graph = graph_from_json(ops::standard_ops(), text, "fuzz");
  } catch (const Error&) {
    return 0;
  }
  const std::string again = graph_to_json(graph);
  if (graph_to_json(graph_from_json(graph.ops(), again, "again")) != again)
    throw fuzz::Finding("a graph changes when it is written and read");
  fuzz::Choices choices({data, size});
  fuzz::exercise(graph, choices);
  return 0;
}
