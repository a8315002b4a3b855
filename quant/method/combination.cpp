#include "quant/method/combination.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/words.h"
#include "quant/method/distill.h"
#include "quant/method/range.h"

namespace tessera::quant {

namespace {

constexpr const char* kPlace = "combination.place";

struct Parts {
  bool r2 = false, kd = false;
  std::vector<const MethodRow*> methods;

  std::int64_t trained() const {
    return std::count_if(methods.begin(), methods.end(), [](auto* row) { return row->trains(); });
  }
};

Parts parts_of(const std::string& name) {
  Parts out;
  std::vector<std::string> seen;
  std::string companion;
  for (std::size_t from = 0; from <= name.size();) {
    const std::size_t to = std::min(name.find('+', from), name.size());
    const std::string word = name.substr(from, to - from);
    from = to + 1;
    check(!word.empty(), "--method: '", name, "' has nothing on one side of a '+'");
    check(std::find(seen.begin(), seen.end(), word) == seen.end(), "--method: '", name, "' has '",
          word, "' twice");
    seen.push_back(word);
    const auto is = [&](const Companion& c) { return c.name == word; };
    if (std::any_of(companions().begin(), companions().end(), is)) {
      (word == "r2" ? out.r2 : out.kd) = true;
      companion = word;
      continue;
    }
    const MethodRow& row = method_row(word);
    check(row.trains() || out.methods.empty(), "--method: '", name, "': ", word,
          " works on a trained network, it can only be the first");
    out.methods.push_back(&row);
  }
  check(!out.methods.empty(), "--method: '", name, "': ", companion,
        " stands beside a method, as in ", companion, "+dkm");
  const MethodRow& last = *out.methods.back();
  check(last.trains(), "--method: '", name, "': ", last.name, " does not train, so ", companion,
        " cannot go with it");
  return out;
}

// As a part of the combination sees them.
Settings settings_in(const Parts& parts, const MethodRow& row, Settings settings) {
  const bool distils = std::any_of(row.settings.begin(), row.settings.end(),
                                   [](const Setting& s) { return s.name == "distill"; });
  if (parts.kd && distils)
    settings.set("distill", DistillOptions::kinds().name(DistillOptions::Kind::none));
  return settings;
}

class Combination final : public Method {
 public:
  Combination(std::string name, const Parts& parts, const Settings& settings)
      : name_(std::move(name)), r2_(parts.r2), kd_(parts.kd) {
    for (const MethodRow* row : parts.methods) {
      AnyMethod made = row->make(settings_in(parts, *row, settings));
      if (made.training) {
        stages_.push_back(std::move(made.training));
      } else {
        first_ = std::move(made.after);
      }
    }
    range_ = RangeRestriction::kinds().parse(settings.text("r2-kind"));
    range_weight_ = settings.number("r2-weight");
    kd_weight_ = settings.number("kd-weight");
  }

  std::string name() const override { return name_; }
  std::int64_t epochs() const override { return begin_of(stages_.size()); }
  double learning_rate(double epoch) const override {
    const std::size_t stage = stage_at(epoch);
    return stages_[stage]->learning_rate(epoch - static_cast<double>(begin_of(stage)));
  }
  std::string chosen() const override { return stages_[at_.stage]->chosen(); }
  void require(const CompressionPlan& plan) const override {
    if (first_ && first_->require) first_->require(plan);
    for (const auto& stage : stages_) stage->require(plan);
  }
  void before_epoch(nn::Trainer& trainer, double epoch) override {
    while (at_.stage < stage_at(epoch)) {
      move_to(trainer, codebooks(trainer));
      trainer.set_terms(terms_);
      ++at_.stage;
      at_.steps_before = at_.step;
      remember(trainer);
      stages_[at_.stage]->begin(trainer, plan(), *data_);
    }
    stages_[at_.stage]->before_epoch(trainer, epoch - begin_of_stage());
  }
  std::optional<CStepReport> after_update(nn::Trainer& trainer, double from, double to) override {
    auto report =
        stages_[at_.stage]->after_update(trainer, from - begin_of_stage(), to - begin_of_stage());
    if (report) {
      at_.step = report->step += at_.steps_before;
      remember(trainer);
    }
    return report;
  }

 protected:
  CStepReport start(nn::Trainer& trainer, const BatchSource& data, bool resuming) override {
    data_ = &data;
    if (r2_) {
      const auto r2 = std::make_shared<RangeRestriction>(range_);
      trainer.set(nn::coefficient_input(r2->name()), range_weight_);
      trainer.add_objective(r2);
    }
    if (kd_) {
      const Distiller distiller({DistillOptions::Kind::reference, kd_weight_});
      if (!resuming) distiller.prepare(trainer, data.samples());
      distiller.attach(trainer, data.samples());
      distiller.set_scalars(trainer, 0, 1);  // all of the weight from the first epoch on
    }
    terms_ = trainer.terms_set();
    if (resuming) {
      const auto saved = trainer.state().get(kPlace).to_vector<std::int64_t>();
      at_ = {static_cast<std::size_t>(saved.at(0)), saved.at(1), saved.at(2)};
    } else {
      at_ = {};
      remember(trainer);
      if (first_) move_to(trainer, compressed(trainer, plan(), *first_, &data));
    }
    return stages_[at_.stage]->begin(trainer, plan(), data, resuming);
  }

 private:
  void remember(nn::Trainer& trainer) const {
    trainer.state().set(kPlace,
                        Tensor::from(std::vector<std::int64_t>{static_cast<std::int64_t>(at_.stage),
                                                               at_.steps_before, at_.step},
                                     Shape{3}));
  }
  double begin_of_stage() const { return static_cast<double>(begin_of(at_.stage)); }
  std::int64_t begin_of(std::size_t stage) const {
    std::int64_t out = 0;
    for (std::size_t i = 0; i < stage; ++i) out += stages_[i]->epochs();
    return out;
  }
  std::size_t stage_at(double epoch) const {
    std::size_t out = 0;
    while (out + 1 < stages_.size() && epoch >= static_cast<double>(begin_of(out + 1))) ++out;
    return out;
  }
  // Coded weights to the entries that they have.
  void move_to(nn::Trainer& trainer, const Codebooks& codebooks) const {
    const State decoded = decoded_state(trainer.state(), codebooks);
    for (const auto& [weight, codebook] : codebooks)
      trainer.state().set(weight, decoded.get(weight).clone());
  }

  std::string name_;
  std::optional<PostTraining> first_;
  std::vector<std::unique_ptr<Method>> stages_;
  bool r2_, kd_;
  RangeRestriction::Kind range_;
  double range_weight_, kd_weight_;
  const BatchSource* data_ = nullptr;
  nn::StepTerms terms_;  // the user's and the companions'
  struct Place {
    std::size_t stage = 0;
    std::int64_t steps_before = 0, step = 0;  // C steps of the stages before, and all of them
  } at_;
};

}  // namespace

const std::vector<Companion>& companions() {
  static const std::vector<Companion> all = {
      {"r2",
       "range restriction of the weights",
       {Setting::choice("r2-kind", RangeRestriction::Kind::linf, "r2+METHOD: what is restricted",
                        "r2.kind", RangeRestriction::kinds()),
        Setting::number("r2-weight", 0.01, "its coefficient", "r2.weight", 0, 1e9)}},
      {"kd",
       "distillation from the network at the start",
       {Setting::number("kd-weight", 0.8,
                        "METHOD+kd: share of the f32 network's predictions in the targets",
                        "kd.weight", 0, 1)}}};
  return all;
}

MethodRow combination_row(const std::string& name) {
  const Parts parts = parts_of(name);
  MethodRow out{.name = name, .doc = "combination", .settings = {}};
  for (const MethodRow* row : parts.methods) {
    for (const Setting& setting : row->settings) {
      const auto same = [&](const Setting& s) { return s.name == setting.name; };
      if (std::none_of(out.settings.begin(), out.settings.end(), same))
        out.settings.push_back(setting);
    }
  }
  for (const Companion& companion : companions()) {
    if (companion.name == "r2" ? parts.r2 : parts.kd)
      out.settings.insert(out.settings.end(), companion.settings.begin(), companion.settings.end());
  }
  out.training = [name, parts](const Settings& s) {
    return std::make_unique<Combination>(name, parts, s);
  };
  out.rescale = [name, parts](Settings& s, std::int64_t epochs) {
    const std::int64_t stages = parts.trained();
    check(epochs >= stages, "--epochs ", epochs, ": ", name, " needs one for each method, ",
          stages);
    const std::int64_t all = epochs;
    std::int64_t left = stages;
    for (const MethodRow* row : parts.methods) {
      if (!row->trains()) continue;
      const std::int64_t part = epochs / left--;
      row->rescale(s, part);
      epochs -= part;
    }
    const std::int64_t got = Combination(name, parts, s).epochs();
    check(got == all, "--epochs ", all, ": ", name,
          " shares them by one --train-epochs; a multiple of ", stages, " would do");
  };
  out.describe = [parts](const Settings& s, Config& config) {
    for (const MethodRow* row : parts.methods) {
      for (const auto& [key, value] : row->config(settings_in(parts, *row, s))) config[key] = value;
    }
  };
  return out;
}

}  // namespace tessera::quant
