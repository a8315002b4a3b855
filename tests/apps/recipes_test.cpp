// The recipe of docs/recipes.md for a method, carried out by tests/recipes: the program knows it
// wherever it knows methods.
#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

class AddedMethod : public ::testing::Test {
 protected:
  Result run_with(std::vector<std::string> args) const {
    return run(program("recipe_method"), args, folder.path());
  }
  std::string path(const std::string& name) const { return (folder.path() / name).string(); }
  datasets::TempDir folder;
};

TEST_F(AddedMethod, IsInHelpMessagesAndRanges) {
  const Result help = run_with({"compress", "--help"});
  EXPECT_NE(help.out.find("shrunk (direct compression with smaller entries):"), help.out.npos);
  EXPECT_NE(help.out.find("--shrink X (=0.9)"), help.out.npos);
  EXPECT_NE(run_with({"compress", "--method", "magic"}).error.find("known are dc, shrunk, fisher"),
            std::string::npos);
  EXPECT_NE(run_with({"compress", "--shrink", "2"}).error.find("--shrink must be 0.1 to 1, got 2"),
            std::string::npos);
}

TEST_F(AddedMethod, CompressesComparesAndIsTold) {
  const std::vector<std::string> shared = {
      "--data", "synthetic:200:100", "--ref-epochs", "1", "--shrink", "0.5", "--threads", "1",
      "--quiet"};
  std::vector<std::string> compress = {"compress",     "--method", "shrunk,dc", "--json",
                                       path("c.json"), "--out",    path("out")};
  compress.insert(compress.end(), shared.begin(), shared.end());
  const Result done = run_with(compress);
  ASSERT_EQ(done.code, 0) << done.error;
  const Json rows = parse_json(read_file(path("c.json")), "c.json").at("rows");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].at("method"), "shrunk");
  EXPECT_GT(rows[0].at("distance").get<double>(), 1.2 * rows[1].at("distance").get<double>());
  const std::string model = read_file(path("out/lenet300-shrunk-adaptive2-s1.json"));
  EXPECT_NE(model.find("\"shrink\""), model.npos);

  std::vector<std::string> compare = {"compare", "--method", "shrunk", "--out", path("compared")};
  compare.insert(compare.end(), shared.begin(), shared.end());
  const Result compared = run_with(compare);
  ASSERT_EQ(compared.code, 0) << compared.error;
  EXPECT_NE(compared.out.find("shrunk"), compared.out.npos);
  const std::string page = read_file(path("compared/report.html"));
  EXPECT_NE(page.find("shrunk"), page.npos);
}

}  // namespace
}  // namespace tessera::testing
