// Every case of the ONNX project's node tests is passed, or unsupported and says why; and no
// operator passes fewer than it did.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "core/files/atomic_file.h"
#include "tests/onnx/node_cases.h"
#include "tests/test_dir.h"

namespace tessera::onnx {
namespace {

std::vector<NodeResult> all_results(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> cases;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.is_directory()) cases.push_back(entry.path());
  std::ranges::sort(cases);
  std::vector<NodeResult> out;
  for (const auto& one : cases) out.push_back(run_node_case(one));
  return out;
}

TEST(OnnxNodes, PassOrSayWhyNot) {
  const auto folder = node_cases_folder();
  if (folder.empty()) GTEST_SKIP() << "932 cases: libonnx-testdata is not installed";
  const std::vector<NodeResult> results = all_results(folder);
  ASSERT_GE(results.size(), 900u);
  for (const NodeResult& result : results) {
    EXPECT_NE(result.kind, NodeResult::Kind::failed) << result.name << ": " << result.why;
    if (result.kind == NodeResult::Kind::unsupported)
      EXPECT_FALSE(result.why.empty()) << result.name;
  }
  const auto counts = counts_by_op(results);
  // Whoever changes what is read writes the table of docs/onnx.md anew.
  if (const char* file = std::getenv("TESSERA_ONNX_TABLE")) write_file(file, table(counts));
  if (const char* file = std::getenv("TESSERA_ONNX_FLOOR")) {
    std::string text;
    for (const auto& [op, c] : counts)
      if (c.passed > 0) text += op + " " + std::to_string(c.passed) + "\n";
    write_file(file, text);
  }
  std::ifstream floor(tessera::testing::test_dir() / "onnx/node_floor.txt");
  std::string op;
  int least = 0, ops = 0;
  for (; floor >> op >> least; ++ops) {
    const auto found = counts.find(op);
    EXPECT_GE(found == counts.end() ? 0 : found->second.passed, least) << op;
  }
  EXPECT_GE(ops, 50);
}

}  // namespace
}  // namespace tessera::onnx
