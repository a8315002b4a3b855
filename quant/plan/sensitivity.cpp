#include "quant/plan/sensitivity.h"

#include "core/interrupt.h"
#include "nn/trainer.h"
#include "quant/pack/codebook_tensor.h"

namespace tessera::quant {

namespace {

constexpr int kMostBits = 8;

Candidate candidate(const Shape& shape, const TensorChoice& choice) {
  Candidate out;
  out.choice = choice;
  out.bits = choice.spec.bits();
  const Encoding encoding =
      Encoding::codebook(choice.spec.format(choice.group_rows), choice.spec.size());
  for (const Plane& plane : encoding.planes(DType::f32, shape)) {
    out.bytes += plane.bytes();
  }
  return out;
}

// The codebooks of 1 to 8 bits for a tensor that the policy leaves to its default.
std::vector<Candidate> adaptive_candidates(const TensorPlan& item) {
  std::vector<Candidate> out;
  const std::int64_t rows = CodebookFormat::rows(item.shape),
                     row = CodebookFormat::row_length(item.shape);
  for (int bits = 1; bits <= kMostBits; ++bits) {
    TensorChoice choice = *item.choice;
    choice.spec = CodebookSpec::adaptive(1 << bits);
    if (item.source == TensorPlan::Source::depthwise) {
      choice.group_rows = depthwise_group_rows(item.shape, choice.spec.size());
    }
    const std::int64_t group = (choice.group_rows ? choice.group_rows : rows) * row;
    if (choice.spec.size() <= group) out.push_back(candidate(item.shape, choice));
  }
  return out;
}

CodebookTensor direct(const CandidateTensor& tensor, const Candidate& c, const Tensor& weights) {
  return fit_tensor(tensor.name, c.choice.spec, weights.shape(), c.choice.group_rows,
                    weights.span<float>());
}

void measure_losses(std::vector<CandidateTensor>& tensors, nn::Evaluator& evaluate, State& work,
                    const CalibrationSet& samples, double dense) {
  for (CandidateTensor& tensor : tensors) {
    const Tensor weights = work.get(tensor.name);
    for (Candidate& c : tensor.candidates) {
      Tensor quantized(DType::f32, weights.shape());
      direct(tensor, c, weights).decode(quantized.span<float>());
      work.set(tensor.name, quantized);
      c.cost = evaluate(work, samples).loss() - dense;
    }
    work.set(tensor.name, weights);
  }
}

void measure_fisher(std::vector<CandidateTensor>& tensors, const Graph& inference,
                    const nn::Task& task, const State& state, const CalibrationSet& samples) {
  std::vector<std::string> names;
  for (const CandidateTensor& tensor : tensors) names.push_back(tensor.name);
  const Importance importance = fisher_information(inference, task, state, names, samples);
  for (CandidateTensor& tensor : tensors) {
    const Tensor weights = state.get(tensor.name);
    const auto w = weights.span<float>();
    const std::vector<float>& h = importance.at(tensor.name);
    std::vector<float> quantized(w.size());
    for (Candidate& c : tensor.candidates) {
      stop_if_interrupted();
      direct(tensor, c, weights).decode(quantized);
      double sum = 0;
      for (std::size_t i = 0; i < w.size(); ++i) {
        const double d = static_cast<double>(w[i]) - quantized[i];
        sum += h[i] * d * d;
      }
      c.cost = sum / 2;
    }
  }
}

}  // namespace

std::vector<CandidateTensor> candidates(const std::vector<nn::ParameterSpec>& parameters,
                                        const State& state, const Policy& policy) {
  Policy smallest = policy;
  smallest.weights.spec = CodebookSpec::adaptive(2);
  std::vector<CandidateTensor> out;
  for (const TensorPlan& item : plan_compression(parameters, state, smallest).tensors) {
    if (!item.choice) continue;
    CandidateTensor tensor{item.name, item.shape.numel(), {}};
    if (item.source == TensorPlan::Source::named) {
      tensor.candidates = {candidate(item.shape, *item.choice)};
    } else {
      tensor.candidates = adaptive_candidates(item);
    }
    out.push_back(std::move(tensor));
  }
  return out;
}

double measure_costs(std::vector<CandidateTensor>& tensors, const Graph& inference,
                     std::shared_ptr<const nn::Task> task, const State& state,
                     const CalibrationSet& samples, Sensitivity kind) {
  State work;
  for (const auto& [name, entry] : state.entries()) work.set(name, entry.tensor);
  nn::Evaluator evaluate(clone(inference), task);
  const double dense = evaluate(work, samples).loss();
  if (kind == Sensitivity::loss) {
    measure_losses(tensors, evaluate, work, samples, dense);
  } else {
    measure_fisher(tensors, inference, *task, state, samples);
  }
  return dense;
}

const Names<Sensitivity>& sensitivities() {
  static const Names<Sensitivity> all(
      "sensitivity", {{"loss", Sensitivity::loss}, {"fisher", Sensitivity::fisher}});
  return all;
}

}  // namespace tessera::quant
