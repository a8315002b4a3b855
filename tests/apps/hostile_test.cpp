// The tools on small models that ask for too much (tests/malformed/hostile_models.h).
#include "tests/apps/hostile.h"

#include "tests/malformed/hostile_models.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

class Hostile : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : programs_) {
      if (!fs::exists(testing::program(name))) GTEST_SKIP() << name << " is not built";
    }
  }
  std::string path(const std::string& name) const { return (folder.path() / name).string(); }

  datasets::TempDir folder, work;
  std::vector<const char*> programs_ = {"tessera"};
};

class HostileMnist : public Hostile {
 protected:
  HostileMnist() { programs_ = {"mnist"}; }
};

TEST_F(Hostile, Models) {
  for (const testing::HostileFile& file : testing::write_hostile_models(folder.path())) {
    for (const std::string& verb : file.verbs) {
      std::vector<std::string> args = {verb, path(file.name)};
      args.insert(args.end(), file.flags.begin(), file.flags.end());
      testing::expect_harmless("tessera", args, work.path());
    }
  }
}

TEST_F(Hostile, WhatIsRefusedAndWhatIsNot) {
  testing::write_hostile_models(folder.path());
  const auto error_of = [&](const std::string& name) {
    return testing::expect_refused("tessera", {"inspect", path(name)}, work.path()).error;
  };
  for (const char* name : {"sparse.json", "prologue.json", "large.json"}) {
    EXPECT_NE(error_of(name).find("--max-memory"), std::string::npos) << error_of(name);
  }
  EXPECT_NE(error_of("long.json").find("File name too long"), std::string::npos);
  EXPECT_NE(error_of("zero.json").find("expected a regular file"), std::string::npos);
  EXPECT_NE(error_of("pipe.json").find("expected a regular file"), std::string::npos);
  EXPECT_EQ(error_of("twice.json").find('\x1b'), std::string::npos);
  // Names may hold anything: the model is sound.
  const auto inspect =
      testing::expect_harmless("tessera", {"inspect", path("escapes.json")}, work.path());
  EXPECT_EQ(inspect.code, 0) << inspect.error;
  EXPECT_NE(inspect.out.find("\\x1b[31mEVIL"), std::string::npos);
}

// The programs of a benchmark read the same files.
TEST_F(HostileMnist, Models) {
  for (const testing::HostileFile& file : testing::write_hostile_models(folder.path())) {
    testing::expect_harmless("mnist", {"eval", path(file.name), "--data", "synthetic:200:50"},
                             work.path());
    testing::expect_harmless(
        "mnist",
        {"export", path(file.name), (work.path() / "to.json").string(), "--dense", "--overwrite"},
        work.path());
  }
  for (const char* verb : {"train", "compress", "compare", "bench"}) {
    std::vector<std::string> args = {verb, "--data", "synthetic:200:50"};
    if (std::string(verb) == "bench") {
      args.insert(args.end(), {path("digits.json"), "--infer", "--repeat", "1"});
    } else {
      args.insert(args.end(), {"--from", path("digits.json"), "--out", path("out")});
    }
    testing::expect_harmless("mnist", args, work.path());
  }
  const auto eval = testing::expect_harmless(
      "mnist", {"eval", path("digits.json"), "--data", "synthetic:200:50"}, work.path());
  EXPECT_EQ(eval.code, 0) << eval.error;
  EXPECT_NE(eval.out.find("\\x1b[31mEVIL"), std::string::npos) << eval.out;
}

// What the rule refuses, the flag allows.
TEST_F(Hostile, MoreMemoryOnDemand) {
  testing::HostileModel model;
  const int wide = model.op("broadcast_to", {model.param("w", "f32[1]")}, {{"shape", "[70000000]"}},
                            "f32[70000000]");
  model.output("y", model.op("exp", {wide}, Json::object(), "f32[70000000]"));
  model.write(folder.path(), "m");
  const auto refused = testing::expect_refused("tessera", {"inspect", path("m.json")}, work.path());
  EXPECT_NE(refused.error.find("--max-memory 5"), std::string::npos) << refused.error;
  const auto allowed =
      testing::run(testing::program("tessera"), {"inspect", path("m.json"), "--max-memory", "1200"},
                   work.path());
  EXPECT_EQ(allowed.code, 0) << allowed.error;
}

TEST_F(HostileMnist, Archives) {
  write_file(path("a.xz"), testing::xz_of_zeros(200 << 20));
  write_file(path("a.npz"), testing::npz_of_zeros(200 << 20));
  for (const char* name : {"a.xz", "a.npz"}) {
    const auto result = testing::expect_refused(
        "mnist", {"import", path(name), "--data", "synthetic:200:50", "--out", path("out")},
        work.path());
    EXPECT_NE(result.error.find("--max-memory"), std::string::npos) << result.error;
  }
}

TEST_F(HostileMnist, NamesOfRuns) {
  for (const char* name : {"..", ".", ".hidden", "../x", "a/b"}) {
    testing::expect_refused("mnist",
                            {"train", "--data", "synthetic:200:50", "--epochs", "1", "--name", name,
                             "--out", path("out")},
                            work.path());
    EXPECT_FALSE(fs::exists(path("out"))) << name;
  }
}

}  // namespace
}  // namespace tessera
