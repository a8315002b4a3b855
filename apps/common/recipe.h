// The settings of a training run and of a compression run: defaults, flags, and what they mean in
// terms of the library. Every setting that shapes a result is in config(), which goes into the
// model file and decides whether a run may be resumed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/common/flags.h"
#include "core/files/checkpoint.h"
#include "nn/schedule.h"
#include "nn/trainer.h"
#include "quant/lc.h"

namespace tessera::apps {

// A double as shortest text that reads back to it.
std::string exact(double value);

// Throws Error naming the flag unless the value is f32 or bf16.
void check_compute(const std::string& flag, const std::string& value);

struct TrainRecipe {
  std::int64_t epochs = 30;
  std::int64_t batch = 256;
  double lr = 0.1;
  double lr_decay = 1;     // factor per epoch
  double lr_final = 0.01;  // share of the rate left at the end, by half a cosine; 1: constant
  double momentum = 0.9;
  bool nesterov = true;
  double weight_decay = 0;
  double label_smoothing = 0;
  std::string compute = "f32";  // or bf16
  double warmup = 0;  // share of the epochs in which the rate rises from 0; the cosine follows
  std::string augment = "none";  // list of what the data offers: "crop,flip,cutout"

  // Flags --PREFIXepochs, --PREFIXlr, ...
  void add_flags(po::options_description& options, const std::string& prefix);
  void validate(const std::string& prefix) const;  // throws Error naming the flag
  Config config() const;                           // keys "reference.epochs", ...
  nn::Schedule schedule() const;
  nn::TrainerOptions trainer(std::uint64_t seed) const;
};

struct CompressRecipe {
  quant::LcOptions lc;  // its alternation is that of iDC too
  std::int64_t batch = 256;
  double momentum = 0.9;
  bool nesterov = true;
  double weight_decay = 0;
  std::string augment = "none";
  std::string policies = "all";    // list of presets of quant::Policy
  std::vector<std::string> rules;  // 'regex=codebook' or 'regex=skip'

  void add_flags(po::options_description& options);
  void validate() const;
  // Of one run; a method that trains nothing has only the codebooks.
  Config config(const std::string& method, const std::string& codebook) const;
  nn::TrainerOptions trainer(std::uint64_t seed) const;
  // Every name that method() takes, for lists and --methods all.
  static std::vector<std::string> method_names();
  // With the schedule of a method scaled to this many epochs of training, all together: shares of
  // the steps stay as they are, and penalties and rates go from the same start to the same end. A
  // method that does not train stays as it is. Throws Error for a method that cannot be scaled.
  CompressRecipe with_epochs(const std::string& method, std::int64_t epochs) const;
  std::unique_ptr<quant::Method> method(const std::string& name) const;
  quant::Policy policy(const std::string& codebook, std::int64_t group_rows) const;
};

// The codebooks that --codebook, --bits and --k ask for, one for each number of bits.
struct CodebookFlags {
  std::string codebook = "adaptive";
  std::string bits;    // 1 to 8, a list; 1 when neither this nor k is given
  std::int64_t k = 0;  // entries instead of bits

  void add_flags(po::options_description& options);
  std::vector<std::string> codebooks() const;  // "adaptive:2", ...; throws Error
};

}  // namespace tessera::apps
