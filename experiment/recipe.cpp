#include "experiment/recipe.h"

#include <charconv>
#include <cmath>
#include <numbers>

#include "core/words.h"
#include "quant/method/combination.h"
#include "quant/method/range.h"
#include "quant/method/representatives.h"
#include "quant/pack/entries.h"

namespace tessera::experiment {

namespace {

constexpr double kMost = 1e9;  // for what has no natural limit
constexpr double kMostBatch = 1 << 20;
constexpr const char *kBpw = "bpw:", *kSize = "size:";

nn::TrainerOptions trainer_options(std::int64_t batch, const nn::OptimizerOptions& optimizer,
                                   std::uint64_t seed) {
  nn::TrainerOptions options;
  options.batch = batch;
  options.optimizer = optimizer;
  options.seed = seed;
  return options;
}

void check_positive(const std::string& name, double value) {
  check(value > 0 && value <= kMost, name, " must be positive and at most ", kMost, ", got ",
        value);
}

constexpr const char* kNoAugmentation = "none";
constexpr const char* kAugmentHelp =
    "how samples are varied: none, or a list of crop, flip and cutout; of pictures with boxes "
    "usual, or a list of crop, flip, turn and colours";

constexpr const char* kGradientsHelp =
    "what gradients travel as between ranks: f32, bf16, or codebook:2, :4, :16 or :256, indices "
    "into a codebook fitted in every step; what is lost is added in the next one";

// Whether the words are known is for the data to say.
void check_augment(const std::string& flag, const std::string& augment) {
  word_list(augment, flag);
}

}  // namespace

void TrainRecipe::add_flags(FlagList& options, const std::string& prefix) {
  const auto name = [&](const char* text) { return prefix + text; };
  auto add = options.add_options();
  add(name("epochs"), flag(epochs), "passes over the training set");
  add(name("batch"), flag(batch), "samples per step");
  add(name("lr"), flag(lr, "X"), "learning rate");
  add(name("lr-decay"), flag(lr_decay, "X"), "factor on the learning rate after each epoch");
  add(name("lr-final"), flag(lr_final, "X", &lr_final_given),
      "share of the learning rate left at the end (half a cosine; 1: constant)");
  lr_steps.flag = "--" + prefix + "lr-steps";
  add(name("lr-steps"), text_flag(lr_steps.list, "LIST"), nn::kLrStepsHelp);
  add(name("lr-step-factor"), flag(lr_steps.factor, "X"), nn::kLrStepFactorHelp);
  add_optimizer_flags(options, prefix, optimizer);
  weighting.add_flags(options, prefix);
  add(name("lr-plateau"), flag(lr_plateau, "X"),
      "factor after an epoch no better on the validation samples (1: none)");
  add(name("patience"), flag(patience),
      "end after so many epochs without a better one there (0: never)");
  add(name("label-smoothing"), flag(label_smoothing, "X"), "share given to all classes");
  add(name("warmup"), flag(warmup, "X"),
      "share of the epochs in which the learning rate rises from 0");
  add(name("augment"), text_flag(augment, "LIST"), kAugmentHelp);
  add(name("r2"), text_flag(r2, "KIND"),
      "range restriction while training: linf, margin or softminmax");
  add(name("r2-weight"), flag(r2_weight, "X"), "its coefficient");
  add(name("compute"), text_flag(compute, compute_types().alternatives().c_str()),
      "bf16: convolutions round their operands; weights and sums stay f32");
  add(name("gradients"), text_flag(gradients, "CODE"), kGradientsHelp);
}

const Names<bool>& compute_types() {
  static const Names<bool> all("type to compute in", {{"f32", false}, {"bf16", true}});
  return all;
}

void TrainRecipe::validate(const std::string& prefix) const {
  const std::string p = "--" + prefix;
  check_range(p + "epochs", static_cast<double>(epochs), 1, 1e6);
  check_range(p + "batch", static_cast<double>(batch), 1, kMostBatch);
  check_positive(p + "lr", lr);
  check_range(p + "lr-decay", lr_decay, 1e-6, 1e6);
  check_range(p + "lr-final", lr_final, 0, 1);
  check_range(p + "lr-plateau", lr_plateau, 1e-6, 1);
  check_range(p + "patience", static_cast<double>(patience), 0, 1e6);
  check_optimizer(optimizer, prefix);
  weighting.validate(prefix);
  check_range(p + "lr-step-factor", lr_steps.factor, 1e-9, 1e3);
  check(!lr_final_given || !lr_steps.any(), p, "lr-final is of a cosine, ", p,
        "lr-steps takes its place: they exclude each other");
  lr_steps.shares(static_cast<double>(epochs));
  check_range(p + "label-smoothing", label_smoothing, 0, 0.999);
  check_range(p + "warmup", warmup, 0, 0.999);
  naming(p + "compute", [&] { compute_types().parse(compute); });
  naming(p + "gradients", [&] { GradientCode::parse(gradients); });
  check_augment(p + "augment", augment);
  if (r2 != "none") naming(p + "r2", [&] { quant::RangeRestriction::kinds().parse(r2); });
  check_range(p + "r2-weight", r2_weight, 0, kMost);
}

void TrainRecipe::add_objectives(nn::Trainer& trainer) const {
  if (r2 == "none") return;
  const auto objective =
      std::make_shared<quant::RangeRestriction>(quant::RangeRestriction::kinds().parse(r2));
  trainer.set(nn::coefficient_input(objective->name()), r2_weight);
  trainer.add_objective(objective);
}

Config TrainRecipe::config() const {
  Config out = {{"reference.epochs", std::to_string(epochs)},
                {"reference.batch", std::to_string(batch)},
                {"reference.lr", exact(lr)},
                {"reference.lr_decay", exact(lr_decay)},
                {"reference.lr_final", exact(lr_final)},
                {"reference.label_smoothing", exact(label_smoothing)}};
  out.merge(optimizer_config(optimizer, "reference."));
  out.merge(weighting.config("reference."));
  if (lr_steps.any()) {
    out.erase("reference.lr_final");
    out["reference.lr_steps"] = lr_steps.text();
  }
  if (lr_plateau < 1) out["reference.lr_plateau"] = exact(lr_plateau);
  if (patience > 0) out["reference.patience"] = std::to_string(patience);
  if (compute != "f32") out["reference.compute"] = compute;
  if (gradients != "f32") out["reference.gradients"] = gradients;
  if (warmup > 0) out["reference.warmup"] = exact(warmup);
  if (augment != kNoAugmentation) out["reference.augment"] = augment;
  if (r2 != "none") out["reference.r2"] = r2 + " " + exact(r2_weight);
  return out;
}

nn::EarlyStopping TrainRecipe::early_stopping(const BatchSource* validation) const {
  nn::EarlyStopping out;
  if (!validates()) return out;
  out.validation = validation;
  out.plateau = lr_plateau;
  out.patience = patience > 0 ? patience : epochs + 1;
  return out;
}

nn::Schedule TrainRecipe::schedule() const {
  const double rise = warmup * static_cast<double>(epochs);
  if (lr_steps.any()) {
    const auto stepped =
        nn::step_decay_shares(lr, lr_steps.factor, lr_steps.shares(static_cast<double>(epochs)),
                              static_cast<double>(epochs));
    return nn::with_warmup(rise, [=, *this](double epoch) {
      return stepped(epoch) * std::pow(lr_decay, std::floor(epoch));
    });
  }
  return nn::with_warmup(rise, [=, *this](double epoch) {
    const double fall = static_cast<double>(epochs) - rise;
    const double half_cosine = 0.5 * (1 + std::cos(std::numbers::pi * (epoch - rise) / fall));
    return lr * std::pow(lr_decay, std::floor(epoch)) * (lr_final + (1 - lr_final) * half_cosine);
  });
}

nn::TrainerOptions TrainRecipe::trainer(std::uint64_t seed) const {
  auto options = trainer_options(batch, optimizer, seed);
  options.label_smoothing = label_smoothing;
  options.weighting = weighting.weighting();
  options.bf16 = compute_types().parse(compute);
  options.ranks.gradients = GradientCode::parse(gradients);
  return options;
}

void CompressRecipe::add_flags(FlagList& options) {
  add_policy_flags(options);
  auto add = options.add_options();
  add("entries", text_flag(entries, "DTYPE"),
      "how codebook entries are stored: f32, bf16, or s8 with a scale (all rounded once the method "
      "is done)");
  add("bn-reestimate", flag(bn_batches),
      "batches of calibration samples from which batch norm takes its statistics anew, once the "
      "weights are codebooks; 16 will do, 0: keep them");
  activations.add_flags(options, "");
  activations.add_quantizer_flag(options);
  add("sensitivity", text_flag(sensitivity, quant::sensitivities().alternatives().c_str()),
      "bit allocation: measured rise of the loss, or (cheaper) its second-order estimate");
  add("batch", flag(batch), "samples per training step");
  add_optimizer_flags(options, "", optimizer);
  weighting.add_flags(options, "");
  add("gradients", text_flag(gradients, "CODE"), kGradientsHelp);
  add("augment", text_flag(augment, "LIST"), kAugmentHelp);
  const auto add_rows = [&](const auto& row, const std::string& form) {
    FlagList own(cat(form, " (", row.doc, ")"));
    for (const Setting& setting : row.settings) {
      if (!options.has(setting.name)) own.add(methods, setting.name);
    }
    options.add(own);
  };
  for (const quant::MethodRow& row : quant::methods()) add_rows(row, row.name);
  for (const quant::Companion& row : quant::companions()) add_rows(row, row.name + "+METHOD");
}

void CompressRecipe::validate() const {
  check_range("--batch", static_cast<double>(batch), 1, kMostBatch);
  check_optimizer(optimizer, "");
  weighting.validate("");
  naming("--gradients", [&] { GradientCode::parse(gradients); });
  check(methods.text(quant::kCoefficient) != "joint" || weighting.by_gradients(),
        "--coefficient joint needs a --loss-weighting by gradients: upgrad, say; got ",
        weighting.name);
  check_range("--bn-reestimate", static_cast<double>(bn_batches), 0, 1e6);
  naming("--entries", [&] { quant::entry_types().parse(entries); });
  naming("--sensitivity", [&] { quant::sensitivities().parse(sensitivity); });
  check_augment("--augment", augment);
  quant::validate_methods(methods);
  activations.validate("");
  check_range("--min-size", static_cast<double>(min_size), 0, 1e15);
  policy("adaptive:2", 0);  // presets and rules are known, or Error
}

Config CompressRecipe::config(const std::string& name, const std::string& codebook) const {
  Config out = {{"method", name}, {"codebook", codebook}};
  if (policies != "all") out["policy"] = policies;
  if (entries != "f32") out["entries"] = entries;
  out.merge(policy_config());
  for (std::size_t i = 0; i < shared.size(); ++i) out["share." + std::to_string(i)] = shared[i];
  if (activations.bits > 0) {
    out[kActivations] = text(activations.options());
    if (activations.quantizer != "dorefa")
      out["activation_samples"] = std::to_string(calibration_samples());
  }
  if (bn_batches > 0) {
    out["bn_reestimate"] = std::to_string(bn_batches);
    out["bn_batch"] = std::to_string(batch);
  }
  const quant::MethodRow& row = quant::method_row(name);
  out.merge(row.config(methods));
  if (!row.trains()) return out;
  out["batch"] = std::to_string(batch);
  out.merge(optimizer_config(optimizer, ""));
  out.merge(weighting.config(""));
  if (gradients != "f32") out["gradients"] = gradients;
  if (augment != kNoAugmentation) out["augment"] = augment;
  return out;
}

CompressRecipe CompressRecipe::with_epochs(const std::string& name, std::int64_t epochs) const {
  check_range("--epochs", static_cast<double>(epochs), 1, 1e6);
  const quant::MethodRow& row = quant::method_row(name);
  if (!row.trains()) return *this;
  CompressRecipe out = *this;
  row.rescale(out.methods, epochs);
  const std::int64_t got = out.method(name).epochs();
  check(got == epochs, "--epochs ", epochs, ": method ", name, " would train ", got,
        "; its schedule cannot be scaled");
  return out;
}

nn::TrainerOptions CompressRecipe::trainer(std::uint64_t seed) const {
  auto options = trainer_options(batch, optimizer, seed);
  options.weighting = weighting.weighting();
  options.ranks.gradients = GradientCode::parse(gradients);
  return options;
}

quant::AnyMethod CompressRecipe::method(const std::string& name, std::uint64_t seed) const {
  return quant::method_row(name).make(methods, seed);
}

quant::ActivationOptions CompressRecipe::activation_options() const {
  quant::ActivationOptions out = activations.options();
  out.samples = calibration_samples();
  return out;
}

Config CompressRecipe::sensitivity_config() const {
  Config out = {{"sensitivity", sensitivity},
                {"calibration", std::to_string(calibration_samples())},
                {"policy", policies}};
  out.merge(policy_config());
  return out;
}

quant::Sensitivity CompressRecipe::sensitivity_kind() const {
  return quant::sensitivities().parse(sensitivity);
}

std::optional<SizeTarget> SizeTarget::parse(const std::string& codebook) {
  SizeTarget out;
  if (codebook.starts_with(kBpw)) {
    const std::string number = codebook.substr(std::string(kBpw).size());
    double value = 0;
    const char* end = number.data() + number.size();
    const auto [stop, error] = std::from_chars(number.data(), end, value);
    check(error == std::errc() && stop == end && value > 0 && value <= 32,
          "--target-bpw: expected bits a weight, up to 32, got '", number, "'");
    out.bits_per_weight = value;
    return out;
  }
  if (!codebook.starts_with(kSize)) return std::nullopt;
  out.bytes = integer_list(codebook.substr(std::string(kSize).size()), "--target-size", 1,
                           std::int64_t{1} << 40)[0];
  return out;
}

std::int64_t SizeTarget::budget(const std::vector<quant::CandidateTensor>& tensors) const {
  if (!bits_per_weight) return bytes;
  std::int64_t weights = 0;
  for (const auto& tensor : tensors) weights += tensor.weights;
  return static_cast<std::int64_t>(*bits_per_weight * static_cast<double>(weights) / 8);
}

void CodebookFlags::add_flags(FlagList& options) {
  auto add = options.add_options();
  add("codebook", text_flag(codebook, "KIND"),
      "adaptive[:K], binary, ternary, pow2:C, each also -scaled; multibit:B, nf4, uniform:B, "
      "fixed:V,V,..., scaled:V,V,...; vector:KxD, an index for D weights; with @64 or @row a "
      "scaled one (nf4@64) has a scale per 64 "
      "weights or per row");
  add("bits", text_flag(bits, "LIST"),
      cat("adaptive codebooks of 2^bits entries: 1 to 8 (default ", usual_bits, ")").c_str());
  const auto take_entries = [this](std::int64_t entries) {
    check_range("--k", static_cast<double>(entries), 1, 256);
    k = entries;
  };
  add("k", number_flag(take_entries, "K"), "entries of an adaptive codebook");
}

void CodebookFlags::add_target_flags(FlagList& options) {
  auto add = options.add_options();
  add("target-bpw", text_flag(target_bpw, "LIST"),
      "bits a coded weight on average, codebooks included; each tensor gets 1 to 8 bits by how "
      "much "
      "the loss feels it");
  add("target-size", text_flag(target_size, "LIST"), "the same for bytes of indices and codebooks");
}

std::vector<std::string> CodebookFlags::codebooks() const {
  if (!target_bpw.empty() || !target_size.empty()) {
    check(
        codebook == "adaptive" && bits.empty() && k == 0,
        "--target-bpw and --target-size choose the codebooks: they exclude --codebook, --bits and "
        "--k");
    check(target_bpw.empty() || target_size.empty(),
          "--target-bpw and --target-size exclude each other");
    std::vector<std::string> out;
    const std::string prefix = target_size.empty() ? kBpw : kSize;
    for (const std::string& word : word_list(
             target_bpw + target_size, target_size.empty() ? "--target-bpw" : "--target-size")) {
      SizeTarget::parse(prefix + word);  // a number, or Error
      out.push_back(prefix + word);
    }
    return out;
  }
  if (codebook != "adaptive") {
    check(bits.empty() && k == 0, "--bits and --k go with --codebook adaptive, not with '",
          codebook, "'");
    return naming("--codebook", [&]() -> std::vector<std::string> {
      return {quant::CodebookSpec::parse(codebook).text()};
    });
  }
  check(bits.empty() || k == 0, "--bits and --k exclude each other");
  std::vector<std::string> out;
  if (k != 0) {
    out.push_back(quant::CodebookSpec::parse("adaptive:" + std::to_string(k)).text());
    return out;
  }
  for (const std::int64_t b : integer_list(bits.empty() ? usual_bits : bits, "--bits", 1, 8)) {
    out.push_back("adaptive:" + std::to_string(std::int64_t{1} << b));
  }
  return out;
}

}  // namespace tessera::experiment
