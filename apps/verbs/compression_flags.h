// What compress and compare have in common: their flags, and the work these open.
#pragma once

#include "apps/cli/cli.h"
#include "apps/verbs/verbs.h"
#include "experiment/compression.h"

namespace tessera::apps {

struct CompressionFlags {
  NetworkFlags network;
  DataFlags data;
  RunFlags run;
  Recipes recipes;
  CodebookFlags codebooks;
  std::string seeds = "1", methods, group_rows = "0", sparse = "0", from;
  std::string calibration;  // a folder
  std::string calibration_help;
  bool plan_only = false;

  CompressionFlags(const Benchmark& benchmark, const Args& args);

  // What comes before and after the flags of the verb itself.
  void add_first(FlagList& general);
  void add_last(FlagList& general, const std::string& compression);
  // --preset stands for the flags it lists.
  std::optional<std::vector<std::string>> parse(const Args& args, const Usage& usage,
                                                FlagList& general) const;
  // Everything but the lists below. Throws Error.
  void validate() const;

  std::vector<std::string> method_names() const;  // known, or Error
  std::vector<std::uint64_t> seed_list() const;
  // Every codebook, scope and share, each with every one of `names`.
  std::vector<Variant> variants(const std::vector<std::string>& names) const;
};

// Data, network, --from's model and --calibration's images; the model's settings stand for flags
// that were not given.
struct CompressionWork {
  explicit CompressionWork(CompressionFlags& flags);
  // Throws Error where the references of these seeds are none to use, or cannot be trained: see
  // require_usable_reference().
  void require_references(const CompressionFlags& flags) const;

  Session session;
  Data data;
  Task task;
  std::optional<Reference> given;
};

}  // namespace tessera::apps
