// The text form of graphs.
#include <string_view>

#include "core/graph_text.h"
#include "ops/op_list.h"
#include "tests/fuzz/exercise.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tessera;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const Graph graph = parse_graph(ops::standard_ops(), text);
    const std::string again = graph_text(graph);
    if (graph_text(parse_graph(graph.ops(), again)) != again)
      throw fuzz::Finding("a graph changes when it is printed and read");
  } catch (const Error&) {
  }
  return 0;
}
