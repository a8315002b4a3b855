// One kind of quantization-aware training: what it keeps beside a weight, what the forward pass
// computes with, and which codebook that is.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "quant/method/qat.h"

namespace tessera::quant {

class QatRule {
 public:
  virtual ~QatRule() = default;
  virtual bool takes(const CodebookSpec& spec) const {
    return spec.kind() == CodebookSpec::Kind::kAdaptive;
  }
  // Why it cannot make this codebook for a tensor, "... must have ..."; "" where it can.
  virtual std::string refuses(const TensorChoice& choice) const;
  // States and parameters of a weight at the reference; `direct` is its direct compression.
  virtual void start(State& state, const std::string& name, const TensorChoice& choice,
                     const CodebookTensor& direct) const;
  // What the forward pass takes for the weight.
  virtual Value quantize(nn::Scope& scope, const std::string& name, Value w,
                         const TensorChoice& choice) const = 0;
  virtual void set_scalars(nn::Trainer& /*trainer*/, double /*progress*/) const {}
  // Whether the plan's codebooks are fitted anew after every epoch, into NAME.c_entries.
  virtual bool refits() const { return false; }
  // The codebook at the weights as they are.
  virtual CodebookTensor snap(const TensorPlan& item, const State& state) const = 0;
};

// A row of the methods' list for a rule; `describe`: what its configuration says besides settings
// with a key.
MethodRow qat_row(const char* name, const char* doc, std::vector<Setting> own,
                  std::function<std::shared_ptr<const QatRule>(const Settings&)> rule,
                  std::function<void(const Settings&, Config&)> describe = {});

// Of each kind, in its own file.
std::unique_ptr<const QatRule> make_ste();
std::unique_ptr<const QatRule> make_twn();
std::unique_ptr<const QatRule> make_ttq();
std::unique_ptr<const QatRule> make_lsq();
std::unique_ptr<const QatRule> make_ewgs(double delta);
std::unique_ptr<const QatRule> make_dkm(int iterations, double begin, double end);

// `value` in the forward pass, the gradient of `through` in the backward.
Value straight_through(Value value, Value through);
// The trained parameter NAME + suffix, of which every weight asks something: its gradient is
// multiplied with `share`.
Value shared_parameter(nn::Scope& scope, const std::string& name, const Shape& shape, double share);
// 1 / sqrt(n): steps of a parameter that n weights share are then of the size of theirs.
double root_share(const Shape& weight, double levels = 1);
double mean_size(std::span<const float> w);
// A scalar, or a vector of several numbers.
Tensor numbers(std::vector<float> values);
// A codebook of given entries and indices, with its error; entries are brought into rising order.
CodebookTensor make_codebook(const TensorPlan& item, std::span<const float> w,
                             std::vector<float> entries, std::vector<std::uint8_t> indices);

}  // namespace tessera::quant
