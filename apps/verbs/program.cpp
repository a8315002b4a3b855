// From a command line to a verb.
#include <algorithm>
#include <array>
#include <iostream>

#include "apps/cli/cli.h"
#include "apps/cli/completion.h"
#include "apps/cli/ranks.h"
#include "apps/verbs/verbs.h"
#include "core/words.h"

namespace tessera::apps {

namespace {

struct Verb {
  std::string_view name, about;
  int (*run)(const Benchmark&, const Args&);
  bool by_ranks = false;  // several processes may do it together
};

int completion_verb(const Benchmark& benchmark, const Args& args);

constexpr std::array kVerbs = {
    Verb{"train", "train a dense reference", train_verb, true},
    Verb{"compress", "compress a reference and measure the result", compress_verb, true},
    Verb{"compare", "methods at several bits from the same references, as tables and a report",
         compare_verb},
    Verb{"eval", "test error, sizes and latency of a model file", eval_verb},
    Verb{"bench", "times of training steps and of inference", bench_verb, true},
    Verb{"export", "write a model for other programs, or under another name", export_verb},
    Verb{"import", "a model from another program's weights", import_verb},
    Verb{"completion", "completion of command lines for bash", completion_verb},
};

int completion_verb(const Benchmark& benchmark, const Args& args) {
  std::vector<CompletedVerb> verbs;
  const auto add = [&](std::string_view name, auto run) {
    verbs.push_back({std::string(name), [&benchmark, run] { run(benchmark, {}); }});
  };
  for (const Verb& verb : kVerbs) add(verb.name, verb.run);
  for (const OwnVerb& verb : benchmark.verbs) add(verb.name, verb.run);
  if (!benchmark.story) return completion_command(benchmark.name, verbs, args);
  return completion_command(benchmark.name, verbs, args, [&] { story_verb(benchmark, {}); });
}

void print_help(const Benchmark& benchmark) {
  std::cout << "usage: " << benchmark.name << " [VERB] [flags]\n\n" << benchmark.about << ".";
  if (benchmark.story) std::cout << " Without a verb: " << benchmark.story->about << ".";
  std::cout << "\n\n";
  const auto line = [](std::string_view name, std::string_view about) {
    std::cout << "  " << name << std::string(12 - name.size(), ' ') << about << "\n";
  };
  for (const Verb& verb : kVerbs) line(verb.name, verb.about);
  for (const OwnVerb& verb : benchmark.verbs) line(verb.name, verb.about);
  std::cout << "\n" << benchmark.name << " VERB --help lists the flags of a verb";
  if (benchmark.story) {
    std::cout << ", " << benchmark.name << " --help-story those without a verb";
  }
  std::cout << "; --version says which release this is.\nExit codes: 0 done, 2 bad usage or input, "
               "130 interrupted (143 by SIGTERM).\n";
}

int run(const Benchmark& benchmark, const Args& args) {
  const std::string first = args.empty() ? "" : args[0];
  if (first == "--help" || first == "-h" || first == "help") {
    print_help(benchmark);
    return kExitDone;
  }
  const auto known_to = [&](const Verb& verb) { return verb.by_ranks && verb.name == first; };
  if (std::ranges::none_of(kVerbs, known_to))
    require_alone(cat("'", benchmark.name, " ", first, "'"));
  if (benchmark.story) {
    if (first == "--help-story") return story_verb(benchmark, {"--help"});
    if (first.empty() || first.starts_with("-")) return story_verb(benchmark, args);
  }
  std::vector<std::string> known;
  for (const Verb& verb : kVerbs) {
    if (verb.name == first) return verb.run(benchmark, {args.begin() + 1, args.end()});
    known.emplace_back(verb.name);
  }
  for (const OwnVerb& verb : benchmark.verbs) {
    if (verb.name == first) return verb.run(benchmark, {args.begin() + 1, args.end()});
    known.emplace_back(verb.name);
  }
  check(!first.empty(), "a verb is needed: ", listed(known), "; see ", benchmark.name, " --help");
  fail_unknown("verb", first, known);
}

}  // namespace

int run_benchmark(int argc, char** argv, const Benchmark& benchmark) {
  return run_main(argc, argv, [&](const Args& args) { return run(benchmark, args); });
}

}  // namespace tessera::apps
