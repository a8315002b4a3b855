// Flags that contradict each other or a file, and settings from a policy file.
#include "core/files/safetensors.h"
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

class Contradictions : public MnistApp {
 protected:
  void expect_refused(const Args& args, const std::string& part) {
    const std::string message = refused(args);
    EXPECT_NE(message.find(part), std::string::npos) << message << "should say " << part;
  }
  std::string trained(const Args& more = {}) {
    Args args = {"train", "--data", kTiny, "--epochs", "1", "--out", path("out"), "--quiet"};
    args.insert(args.end(), more.begin(), more.end());
    must(args);
    return path("out/lenet300-reference-s1.json");
  }
};

TEST_F(Contradictions, OfANetworkAndItsFile) {
  const std::string file = trained();
  const Args from = {"compress", "--data", kTiny, "--from", file, "--plan"};
  Args relu = from, tanh = from;
  relu.insert(relu.end(), {"--activation", "relu"});
  tanh.insert(tanh.end(), {"--activation", "tanh"});
  expect_refused(relu, "--activation relu: " + file + " holds a network of activation tanh");
  must(tanh);
  expect_refused({"bench", file, "--infer", "--data", kTiny, "--net", "lenet5"},
                 "--net lenet5: " + file + " holds the network 'lenet300'");
  expect_refused({"bench", file, "--infer", "--data", kTiny, "--bits", "2"},
                 "--codebook, --bits and --k are of untrained networks");
  expect_refused({"train", "--net", "lenet5", "--activation", "relu", "--data", kTiny},
                 "--activation is of lenet300, not of lenet5");
  expect_refused({"train", "--data", kTiny, "--resume", "--overwrite", "--out", path("out")},
                 "--resume goes on with what is there, --overwrite replaces it");
  expect_refused({"export", file, path("net.onnx")}, "ONNX is written by tessera export");
}

TEST_F(Contradictions, NothingIsLeftOutSilently) {
  const std::string file = trained();
  for (const char* verb : {"compress", "compare"}) {
    const Args from = {verb, "--data", kTiny, "--from", file, "--plan"};
    Args reference = from, rate = from;
    reference.insert(reference.end(), {"--ref-lr", "0.2"});
    rate.insert(rate.end(), {"--train-lr-steps", "0.5", "--train-lr-final", "0.1"});
    expect_refused(reference, "--ref-lr is of a reference that is trained; --from " + file);
    expect_refused(rate, "--train-lr-final is of a cosine, --train-lr-steps takes its place");
  }
  expect_refused({"train", "--data", kTiny, "--lr-steps", "0.5", "--lr-final", "0.1"},
                 "--lr-final is of a cosine, --lr-steps takes its place");
  std::filesystem::create_symlink("loop", path("loop"));
  expect_refused({"train", "--data", path("loop")}, "cannot read " + path("loop"));
}

TEST_F(Contradictions, MessagesNameTheFlag) {
  expect_refused({"compress", "--codebook", "magic"}, "--codebook: ");
  expect_refused({"compress", "--rule", "fc1.*=magic"}, "--rule 'fc1.*=magic': ");
  expect_refused({"import", "x", "--map", "a"}, "--map: import rule 'a'");
  expect_refused({"import", "x", "--ignore", "("}, "--ignore: ");
  expect_refused({"import", "x", "--optional", "("}, "--optional: ");
}

TEST_F(Contradictions, ImportsSayWhichFlagsHelp) {
  must({"export", trained(), path("net.safetensors"), "--quiet"});
  auto tensors = read_safetensors(path("net.safetensors")).tensors;
  const auto import = [&](const char* name, const Args& more = {}) {
    make_safetensors(tensors).write(path(name));
    Args args = {"import", path(name), "--data", kTiny, "--out", path("imported")};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  tensors["bn.num_batches_tracked"] = Tensor::from<std::int64_t>({7}, {});
  const Result counted = must(import("a.safetensors"));
  EXPECT_NE(counted.out.find("left out: 1 counters of PyTorch's batch norms"), counted.out.npos);
  tensors["ema"] = Tensor::zeros(DType::f32, {2});
  expect_refused(import("b.safetensors"), "--ignore REGEX names tensors of the file");
  EXPECT_EQ(refused(import("b.safetensors")).find("--optional"), std::string::npos);
  must(import("b.safetensors", {"--ignore", "ema", "--overwrite"}));
  expect_refused(import("b.safetensors", {"--ignore", "emma"}),
                 "--ignore 'emma' matches no tensor");
  tensors.erase("fc3.bias");
  expect_refused(import("c.safetensors"), "('ema=fc3.bias'?)");
  tensors.erase("ema");
  expect_refused(import("d.safetensors"), "--optional REGEX names tensors that the file may lack");
  EXPECT_EQ(refused(import("d.safetensors")).find("--ignore"), std::string::npos);
  folder.write("net.pt", std::string("PK\3\4", 4) + std::string(22, '\0') +
                             std::string("\x0c\0\0\0", 4) + "net/data.pkl" + "\x80\2}.");
  expect_refused({"import", path("net.pt"), "--data", kTiny}, "numpy.savez('net.npz'");
}

TEST_F(Contradictions, PolicyFilesAndLeastSizes) {
  const Args plan = {"compress", "--data", kTiny, "--plan", "--out", path("none")};
  const auto with = [&](const Args& more) {
    Args args = plan;
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  folder.write("rules.txt",
               "# first layer by rows\n\n  fc1.weight=adaptive:16/g50   # in groups\r\n"
               "fc3.*=skip\n");
  const std::string file = path("rules.txt");
  const Result result = must(with({"--policy-file", file, "--rule", "fc2.*=binary"}));
  for (const std::string part : {"adaptive:16, 4 bits a weight, one codebook per 50 rows",
                                 "dense: rule 'fc3.*'", "binary, 1 bits"}) {
    EXPECT_NE(result.out.find(part), std::string::npos) << result.out;
  }
  // A rule of the command line stands before those of the file.
  const Result won = must(with({"--policy-file", file, "--rule", "fc3.*=binary"}));
  EXPECT_EQ(won.out.find("dense: rule 'fc3.*'"), std::string::npos) << won.out;
  folder.write("rules.txt", "fc1.weight=adaptive:16\nfc2\n");
  expect_refused(with({"--policy-file", file}), file + ":2: 'fc2': expected 'regex=codebook'");
  folder.write("rules.txt", "# nothing but\n\nfc1.weight=magic\n");
  expect_refused(with({"--policy-file", file}), file + ":3: 'fc1.weight=magic': ");
  folder.write("rules.txt", "fc9.weight=skip\n");
  expect_refused(with({"--policy-file", file}),
                 file + ":1: rule 'fc9.weight' matches no parameter");
  folder.write("rules.txt", "# nothing\n");
  expect_refused(with({"--policy-file", file}), "holds no rule");
  expect_refused(with({"--policy-file", path("none.txt")}), "none.txt");

  const Result small = must(with({"--min-size", "2000"}));
  EXPECT_NE(small.out.find("dense: 1000 weights, fewer than the least size to compress, 2000"),
            std::string::npos)
      << small.out;
  expect_refused(with({"--min-size", "-1"}), "--min-size must be 0");
  expect_refused(with({"--min-size", "1000000"}), "nothing to compress");
}

// What the rules of a file make is what the same rules of the command line make.
TEST_F(Contradictions, PolicyFilesAreNoSettingsOfTheirOwn) {
  const std::string file = trained();
  folder.write("rules.txt", "fc1.weight=adaptive:16\nfc3.*=skip\n");
  const auto compress = [&](const std::string& out, const Args& more) {
    Args args = {"compress", "--data",  kTiny,   "--from",  file,         "--method",
                 "dc",       "--quiet", "--out", path(out), "--min-size", "10"};
    args.insert(args.end(), more.begin(), more.end());
    must(args);
    return models(out);
  };
  EXPECT_TRUE(compress("a", {"--policy-file", path("rules.txt")}) ==
              compress("b", {"--rule", "fc1.weight=adaptive:16", "--rule", "fc3.*=skip"}));
}

}  // namespace
}  // namespace tessera::testing
