// tessera: looks into saved models, and writes them in another form.
#include <iostream>

#include "apps/cli/cli.h"
#include "apps/cli/completion.h"
#include "apps/cli/ranks.h"
#include "apps/tessera/commands.h"
#include "core/error.h"
#include "core/words.h"

namespace tessera::apps {

namespace {

struct Command {
  std::string_view name, doc;
  int (*run)(const std::vector<std::string>&);
};

int completion(const std::vector<std::string>& args);

constexpr Command kCommands[] = {
    {"import", "an ONNX file as a model", import_command},
    {"inspect", "graph, encodings, bytes, chosen kernels and memory of a model", inspect_command},
    {"diff", "two models, tensor by tensor", diff_command},
    {"plan", "what a compression would code, how, and the bytes before and after", plan_command},
    {"sensitivity", "how far each weight is from its codebooks of 1 to 8 bits",
     sensitivity_command},
    {"bench", "latency and memory of a model on made-up inputs", bench_command},
    {"verify", "packed run against the decoded reference, per layer", verify_command},
    {"export", "a model as text, JSON, ONNX, C or a C++ header", export_command},
    {"recode", "the same model with its indices entropy-coded, or packed", recode_command},
    {"merge", "the results of several folders in one", merge_command},
    {"report", "the results of a folder as one HTML file", report_command},
    {"ops", "the operators a graph may use", ops_command},
    {"completion", "completion of command lines for bash", completion},
};

int completion(const std::vector<std::string>& args) {
  std::vector<CompletedVerb> verbs;
  for (const Command& command : kCommands)
    verbs.push_back({std::string(command.name), [&command] { command.run({}); }});
  return completion_command("tessera", verbs, args);
}

void print_help() {
  std::cout << "usage: tessera COMMAND [options]\n\n";
  for (const Command& command : kCommands) {
    std::cout << "  " << command.name << std::string(13 - command.name.size(), ' ') << command.doc
              << "\n";
  }
  std::cout
      << "\ntessera COMMAND --help lists the options of a command; --version says which release "
         "this is.\n"
         "Exit codes: 0 done, 1 models differ (diff), 2 bad usage or input, 130 interrupted (143 "
         "by "
         "SIGTERM).\n";
}

int run(std::vector<std::string> args) {
  require_alone("tessera");
  std::vector<std::string> known;
  for (const Command& command : kCommands) known.emplace_back(command.name);
  check(!args.empty(), "a command is needed: ", listed(known, " or "), "; see tessera --help");
  const std::string name = args.front();
  args.erase(args.begin());
  if (name == "--help" || name == "-h" || name == "help") {
    print_help();
    return kExitDone;
  }
  for (const Command& command : kCommands) {
    if (command.name == name) return command.run(args);
  }
  fail_unknown("command", name, known);
}

}  // namespace

}  // namespace tessera::apps

int main(int argc, char** argv) {
  return tessera::apps::run_main(argc, argv, tessera::apps::run);
}
