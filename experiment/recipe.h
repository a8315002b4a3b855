// The settings of a training run and of a compression run: defaults, flags, and what they mean in
// terms of the library. Every setting that shapes a result is in config(), which goes into the
// model file and decides whether a run may be resumed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/files/checkpoint.h"
#include "experiment/activation_flags.h"
#include "experiment/optimizer_flags.h"
#include "experiment/weighting_flags.h"
#include "nn/fit.h"
#include "nn/lr_steps.h"
#include "nn/schedule.h"
#include "nn/trainer.h"
#include "quant/method/method_list.h"
#include "quant/plan/sensitivity.h"

namespace tessera::experiment {

// What convolutions compute in: f32, or bf16 (true).
const Names<bool>& compute_types();

struct TrainRecipe {
  std::int64_t epochs = 30;
  std::int64_t batch = 256;
  double lr = 0.1;
  double lr_decay = 1;  // factor per epoch
  // Factor after each epoch whose main metric on the validation samples was no better than the best
  // before; 1: none.
  double lr_plateau = 1;
  // Epochs without a better one after which training ends; 0: it runs to its end. With either, the
  // network kept is that of the best epoch.
  std::int64_t patience = 0;
  double lr_final = 0.01;       // share of the rate left at the end, by half a cosine; 1: constant
  bool lr_final_given = false;  // by a flag, which lr_steps leave no room for
  nn::LrSteps lr_steps;         // in place of the cosine
  nn::OptimizerOptions optimizer;
  WeightingFlags weighting;
  double label_smoothing = 0;
  std::string compute = "f32";    // or bf16
  std::string gradients = "f32";  // what they travel as between ranks (GradientCode)
  double warmup = 0;  // share of the epochs in which the rate rises from 0; the cosine follows
  std::string augment = "none";  // list of what the data offers: "crop,flip,cutout"
  std::string r2 = "none";       // range restriction: linf, margin or softminmax
  double r2_weight = 0.01;       // of the paper

  // Flags --PREFIXepochs, --PREFIXlr, ...
  void add_flags(FlagList& options, const std::string& prefix);
  void validate(const std::string& prefix) const;  // throws Error naming the flag
  Config config() const;                           // keys "reference.epochs", ...
  nn::Schedule schedule() const;
  // What looks at validation samples while it trains; none of it: their source is null.
  nn::EarlyStopping early_stopping(const BatchSource* validation) const;
  bool validates() const { return lr_plateau < 1 || patience > 0; }
  nn::TrainerOptions trainer(std::uint64_t seed) const;
  // Objectives besides the task.
  void add_objectives(nn::Trainer& trainer) const;
};

// What a run asks for instead of a codebook: a size, for which each tensor gets bits of its own.
// As the "codebook" of a variant it reads "bpw:2.5" or "size:88000".
struct SizeTarget {
  std::optional<double> bits_per_weight;  // else:
  std::int64_t bytes = 0;                 // of indices and codebooks

  // None for the text of a codebook. Throws Error for a target that is no number, or not positive.
  static std::optional<SizeTarget> parse(const std::string& codebook);
  std::int64_t budget(const std::vector<quant::CandidateTensor>& tensors) const;
};

struct CompressRecipe {
  Settings methods = quant::method_settings();  // of all of them
  std::int64_t bn_batches = 0;  // from which batch norm is estimated after hardening; 0: never
  std::string sensitivity = "loss";
  ActivationFlags activations{.quantizer = "mse"};
  std::int64_t batch = 256;
  nn::OptimizerOptions optimizer;
  WeightingFlags weighting;
  std::string gradients = "f32";  // as of TrainRecipe
  std::string augment = "none";
  std::string entries = "f32";   // of codebooks, as stored: f32, bf16 or s8
  std::string policies = "all";  // list of presets of quant::Policy
  // 'regex=codebook' or 'regex=skip': of --rule, which win, and of --policy-file.
  std::vector<std::string> rules;
  struct FileRule {
    std::string text, origin;  // "FILE:LINE"
  };
  std::vector<FileRule> file_rules;
  std::int64_t min_size = 0;        // weights with fewer elements stay dense
  std::vector<std::string> shared;  // regexes; what one matches has one codebook

  // Those of methods under a title for each.
  void add_flags(FlagList& options);
  void validate() const;
  // Of one run; a method that trains nothing has only the codebooks.
  Config config(const std::string& method, const std::string& codebook) const;
  nn::TrainerOptions trainer(std::uint64_t seed) const;
  // With the schedule of a method scaled to this many epochs of training, all together: as many
  // steps with the same rates, each the same share of the whole, and LC's mu times the epochs of a
  // step as it was; of methods with one schedule a rate that falls behind given epochs does so
  // still. A method that does not train stays as it is. Throws Error for a method that cannot be
  // scaled.
  CompressRecipe with_epochs(const std::string& method, std::int64_t epochs) const;
  quant::AnyMethod method(const std::string& name, std::uint64_t seed = 1) const;
  // That fisher, adaround, activation ranges and bit allocation look at.
  std::int64_t calibration_samples() const { return methods.whole(quant::kCalibrationSamples); }
  quant::ActivationOptions activation_options() const;
  // What decides a tensor's bits under a target: how it is measured, and on what.
  Config sensitivity_config() const;
  quant::Sensitivity sensitivity_kind() const;
  quant::Policy policy(const std::string& codebook, std::int64_t group_rows,
                       double sparse = 0) const;
  void add_policy_flags(FlagList& options);  // those of add_flags() that policy() reads

 private:
  Config policy_config() const;  // its rules and least size
};

// The rules of a file, one a line; '#' begins a comment. Throws Error "FILE:LINE: ..." for a
// malformed one.
std::vector<CompressRecipe::FileRule> read_policy_file(const std::string& file);

// 'regex=codebook/gROWS' or 'regex=skip': what --rule takes.
std::string rule_text(const quant::PolicyRule& rule);

// The codebooks that --codebook, --bits and --k ask for, one for each number of bits, or the sizes
// that --target-bpw and --target-size ask for.
struct CodebookFlags {
  std::string codebook = "adaptive";
  std::string bits;              // 1 to 8, a list
  std::string usual_bits = "1";  // when neither this nor k is given
  std::int64_t k = 0;            // entries instead of bits
  std::string target_bpw, target_size;

  void add_flags(FlagList& options);
  void add_target_flags(FlagList& options);    // where a BitAllocator meets them
  std::vector<std::string> codebooks() const;  // "adaptive:2", "bpw:2.5", ...; throws Error
};

}  // namespace tessera::experiment
