// The verbs of every application. Each gets the arguments after its name and returns the exit code.
#pragma once

#include <string>
#include <vector>

#include "apps/cli/benchmark.h"
#include "apps/cli/parse.h"
#include "apps/cli/session.h"
#include "apps/cli/task_flags.h"

namespace tessera::apps {

using Args = std::vector<std::string>;

int train_verb(const Benchmark& benchmark, const Args& args);
int compress_verb(const Benchmark& benchmark, const Args& args);
int compare_verb(const Benchmark& benchmark, const Args& args);
int eval_verb(const Benchmark& benchmark, const Args& args);
int bench_verb(const Benchmark& benchmark, const Args& args);
int export_verb(const Benchmark& benchmark, const Args& args);
int import_verb(const Benchmark& benchmark, const Args& args);
// Without a verb; only where the benchmark has a story.
int story_verb(const Benchmark& benchmark, const Args& args);

// Files of a run go to out/BENCHMARK and start with the network's name.
inline RunFlags default_run(const Benchmark& benchmark, const std::string& network) {
  RunFlags flags;
  flags.out = "out/" + benchmark.name;
  flags.name = network;
  return flags;
}

}  // namespace tessera::apps
