// STE: the forward pass takes the nearest entry of the plan's codebook, refitted after every epoch;
// gradient 1 (BinaryConnect, Courbariaux et al. 2015, with `--codebook binary-scaled`).
#include "ops/codebook/nearest.h"
#include "quant/method/qat/rule.h"

namespace tessera::quant {
namespace {

constexpr const char* kEntries = ".c_entries";  // state, [groups][k]; store_codebooks() makes it

class Ste final : public QatRule {
 public:
  bool takes(const CodebookSpec& spec) const override {
    return spec.scale_block() == 0 && spec.vector_len() == 1;  // its entries are those of a fit
  }
  std::string refuses(const TensorChoice&) const override { return ""; }
  Value quantize(nn::Scope& scope, const std::string& name, Value w,
                 const TensorChoice& choice) const override {
    const Value entries = scope.graph().state(name + kEntries, entries_type(w.shape(), choice));
    return straight_through(ops::nearest(w, entries, choice.group_rows).entry, w);
  }
  bool refits() const override { return true; }
  CodebookTensor snap(const TensorPlan& item, const State& state) const override {
    return assign(item, state.get(item.name).span<float>(),
                  state.get(item.name + kEntries).to_vector<float>());
  }
};

}  // namespace

std::unique_ptr<const QatRule> make_ste() {
  return std::make_unique<Ste>();
}

MethodRow ste_row() {
  return qat_row("ste", "straight-through estimator on the nearest entries", {},
                 [](const Settings&) { return make_ste(); });
}

}  // namespace tessera::quant
