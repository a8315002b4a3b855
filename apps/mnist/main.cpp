// mnist: LeNet-300-100 on handwritten digits, trained, compressed, and run from its codebooks.
#include <array>
#include <iostream>

#include "apps/common/cli.h"
#include "apps/mnist/verbs.h"

namespace {

using tessera::apps::kExitDone;

struct Verb {
  std::string_view name, about;
  int (*run)(const std::vector<std::string>&);
};

constexpr std::array kVerbs = {
    Verb{"train", "train a dense reference", tessera::apps::mnist_train},
    Verb{"compress", "compress a reference and measure the result", tessera::apps::mnist_compress},
    Verb{"eval", "test error, sizes and latency of a model file", tessera::apps::mnist_eval},
    Verb{"bench", "times of training steps and of inference", tessera::apps::mnist_bench},
    Verb{"export", "write a model for other programs, or under another name",
         tessera::apps::mnist_export},
    Verb{"import", "a model from another program's weights", tessera::apps::mnist_import},
};

void print_help() {
  std::cout << "usage: mnist [VERB] [flags]\n\n"
               "LeNet-300-100 on handwritten digits. Without a verb: trains a reference on the\n"
               "built-in digits, compresses it to 1 and 2 bits a weight by three methods, saves,\n"
               "loads in a fresh process, and prints what came out.\n\n";
  for (const Verb& verb : kVerbs) {
    std::cout << "  " << verb.name << std::string(12 - verb.name.size(), ' ') << verb.about << "\n";
  }
  std::cout
      << "\nmnist VERB --help lists the flags of a verb, mnist --help-story those without a verb.\n"
         "Exit codes: 0 done, 2 bad usage or input, 130 interrupted.\n";
}

int run(const std::vector<std::string>& args) {
  if (args.empty()) return tessera::apps::mnist_story(args);
  const std::string& first = args[0];
  if (first == "--help" || first == "-h" || first == "help") {
    print_help();
    return kExitDone;
  }
  if (first == "--help-story") return tessera::apps::mnist_story({"--help"});
  if (first.starts_with("-")) return tessera::apps::mnist_story(args);
  for (const Verb& verb : kVerbs) {
    if (verb.name == first) return verb.run({args.begin() + 1, args.end()});
  }
  std::string known;
  for (const Verb& verb : kVerbs) known += (known.empty() ? "" : ", ") + std::string(verb.name);
  tessera::fail("unknown verb '", first, "'; known are ", known);
}

}  // namespace

int main(int argc, char** argv) {
  return tessera::apps::run_main(argc, argv, run);
}
