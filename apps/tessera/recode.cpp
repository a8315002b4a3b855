// tessera recode: the same model in a file whose indices are entropy-coded, or packed.
#include <iomanip>
#include <iostream>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "core/files/model.h"
#include "ops/load.h"
#include "ops/op_list.h"
#include "quant/pack/harden.h"

namespace tessera::apps {

int recode_command(const std::vector<std::string>& args) {
  bool coded = false, plain = false, overwrite = false;
  std::string out;
  FlagList options("options");
  auto add = options.add_options();
  add("out", text_flag(out, "OUT.json"), "the model to write; may be the one that is read");
  add("entropy-coded", on_flag(coded), "code the indices where that is smaller (the default)");
  add("plain", on_flag(plain), "keep them packed");
  add("overwrite", on_flag(overwrite), kOverwriteHelp);
  const auto files =
      parse_flags(args,
                  {"tessera recode IN.json --out OUT.json [--entropy-coded | --plain]",
                   "Writes a model with its indices entropy-coded or packed. What is loaded from "
                   "either is the same.",
                   1,
                   1,
                   "one model file",
                   {"tessera recode MODEL.json --out SMALLER.json",
                    "tessera recode SMALLER.json --out PACKED.json --plain"}},
                  options);
  if (!files) return kExitDone;
  check(!(coded && plain), "--entropy-coded and --plain exclude each other");
  check(!out.empty(), "--out OUT.json is needed");
  check(std::filesystem::path(out).extension() == ".json", "--out '", out,
        "': expected a name that ends in .json");
  const std::string& in = files->front();
  std::error_code ignored;
  require_new(out, overwrite || std::filesystem::equivalent(in, out, ignored));
  const Model model = load(in);
  const quant::SizeReport before = quant::size_report(model, coded_planes(in, ops::standard_ops()));
  const SavedModel saved = save(model, out, {.entropy_coded = !plain});
  const quant::SizeReport after = quant::size_report(model, saved.coded);
  std::cout << saved.json.string() << ": " << saved.json_bytes << " bytes\n"
            << saved.weights.string() << ": " << saved.weights_bytes << " bytes\n"
            << "indices " << after.index_bytes() << " bytes packed, " << before.file_index_bytes()
            << " in " << in << ", " << after.file_index_bytes() << " in " << saved.json.string()
            << "\n"
            << std::fixed << std::setprecision(4)
            << "bits a coded weight: " << after.bits_per_weight() << " packed, "
            << after.entropy_bits_per_weight() << " by entropy of the indices, "
            << after.file_bits_per_weight() << " in the file\n";
  return kExitDone;
}

}  // namespace tessera::apps
