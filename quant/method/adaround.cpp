#include "quant/method/adaround.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/autodiff.h"
#include "core/interrupt.h"
#include "core/rng.h"
#include "ops/build.h"
#include "quant/calibrate/layers.h"
#include "quant/method/method_list.h"

namespace tessera::quant {

namespace {

constexpr double kStretch = 1.2, kShift = -0.1;  // zeta - gamma and gamma of the paper

// The entries around each weight, and where between them it lies: 0 at `low`, 1 at `high`. A weight
// beyond the last entry lies between the last two, at their outer end.
struct Neighbours {
  std::vector<std::uint8_t> index;  // of low; high is the next one, if there is one
  std::vector<std::uint8_t> next;   // of high
  std::vector<float> low, width, fraction;
};

Neighbours neighbours(const CodebookTensor& codebook, std::span<const float> weights) {
  Neighbours out;
  const std::size_t n = weights.size(), k = static_cast<std::size_t>(codebook.k);
  out.index.resize(n), out.next.resize(n);
  out.low.resize(n), out.width.resize(n), out.fraction.resize(n);
  const std::int64_t group_rows = codebook.format.group_rows ? codebook.format.group_rows
                                                             : CodebookFormat::rows(codebook.shape);
  const auto group_size =
      static_cast<std::size_t>(group_rows * CodebookFormat::row_length(codebook.shape));
  for (std::size_t i = 0; i < n; ++i) {
    const float* entries = codebook.entries.data() + i / group_size * k;
    const auto above = static_cast<std::size_t>(std::upper_bound(entries, entries + k, weights[i]) -
                                                entries);  // entries <= weight
    const std::size_t low = std::min(above == 0 ? 0 : above - 1, k < 2 ? 0 : k - 2),
                      high = std::min(low + 1, k - 1);
    const float width = entries[high] - entries[low];
    out.index[i] = static_cast<std::uint8_t>(low);
    out.next[i] = static_cast<std::uint8_t>(high);
    out.low[i] = entries[low];
    out.width[i] = width;
    out.fraction[i] = width > 0 ? std::clamp((weights[i] - entries[low]) / width, 0.0f, 1.0f) : 0;
  }
  return out;
}

// V with h(V) = fraction; at 0 and 1 where the clip begins.
float inverse_h(float fraction) {
  const double s = std::clamp((fraction - kShift) / kStretch, 1e-6, 1 - 1e-6);
  return static_cast<float>(std::log(s / (1 - s)));
}

Value rounding(Value v) {
  return ops::clamp(kStretch * ops::sigmoid(v) + kShift, 0.0, 1.0);
}

// Squared differences of op(x, weight) and y, summed up for each output channel.
Value channel_errors(Graph& graph, const Layer& layer, Value weight) {
  const Value x = graph.input("x", layer.input().type().dense());
  const Value y = graph.input("y", layer.node->types()[0].dense());
  const Value got = graph.add(layer.node->op(), {x, weight}, layer.node->attrs()).output();
  Ints axes = {0};
  for (int axis = 2; axis < y.shape().rank(); ++axis) axes.push_back(axis);
  return ops::sum(ops::square(got - y), axes);
}

// Errors of given weights over all samples.
class Meter {
 public:
  Meter(const Layer& layer, const Tensor& x, const Tensor& y, std::int64_t batch)
      : x_(x), y_(y), graph_(layer.node->graph().ops()) {
    const TensorType type = layer.node->input(1).type().dense();
    graph_.set_output("errors", channel_errors(graph_, layer, graph_.param("weight", type)));
    plan_.emplace(compile(graph_, {.batch = batch}));
    weight_ = Tensor(DType::f32, type.shape);
    state_.set("weight", weight_);
    batch_x_ = Tensor(DType::f32, layer.input().type().bind(batch).shape);
    batch_y_ = Tensor(DType::f32, layer.node->types()[0].bind(batch).shape);
  }

  // By channel, divided by the number of samples.
  std::vector<double> operator()(std::span<const float> weights) {
    weight_.copy_from(weights);
    state_.mark_updated("weight");
    RunContext context = plan_->context(state_);
    context.bind("x", batch_x_);
    context.bind("y", batch_y_);
    const std::int64_t n = x_.shape()[0].value(), batch = batch_x_.shape()[0].value();
    std::vector<double> out;
    for (std::int64_t first = 0; first < n; first += batch) {
      stop_if_interrupted();
      const std::int64_t rows = std::min(batch, n - first);
      // What is missing to a whole batch is zero, and so is what a layer makes of it.
      fill(batch_x_, x_.slice(first, first + rows));
      fill(batch_y_, y_.slice(first, first + rows));
      context.run();
      const auto errors = context.output("errors").span<float>();
      out.resize(errors.size());
      for (std::size_t c = 0; c < out.size(); ++c) out[c] += errors[c] / static_cast<double>(n);
    }
    return out;
  }

 private:
  static void fill(Tensor& to, const Tensor& rows) {
    std::memcpy(to.data(), rows.data(), static_cast<std::size_t>(rows.bytes()));
    std::memset(to.data() + rows.bytes(), 0, static_cast<std::size_t>(to.bytes() - rows.bytes()));
  }

  const Tensor &x_, &y_;
  Graph graph_;
  std::optional<Plan> plan_;
  State state_;
  Tensor weight_, batch_x_, batch_y_;
};

// One step of Adam on V.
Graph rounding_graph(const Layer& layer, double lr) {
  Graph graph(layer.node->graph().ops());
  const TensorType type = layer.node->input(1).type().dense();
  const Value v = graph.param("v", type), low = graph.state("low", type),
              width = graph.state("width", type);
  const Value h = rounding(v);
  const Value errors = channel_errors(graph, layer, low + width * h);
  const Value scale = graph.state("scale", errors.type());
  const Value undecided =
      ops::sum(1.0 - ops::pow(ops::abs(2.0 * h - 1.0), graph.input("beta", f32({}))));
  const Value loss = ops::sum(errors * scale) + graph.input("lambda", f32({})) * undecided;
  graph.set_output("loss", loss);
  const Value mean = graph.state("mean", type), variance = graph.state("variance", type);
  const Value g = grad(loss, std::span<const Value>(&v, 1))[0];
  const auto next = ops::adam_update(v, g, mean, variance, graph.input("step", f32({})), lr);
  graph.set_update(v, next.param);
  graph.set_update(mean, next.mean);
  graph.set_update(variance, next.variance);
  return graph;
}

// Minimizes over V, and returns h.
std::vector<float> learn(const Layer& layer, const Neighbours& around,
                         const std::vector<float>& scale, const Tensor& x, const Tensor& y,
                         std::int64_t batch, const AdaRoundOptions& options) {
  const Shape& shape = layer.node->input(1).shape();
  std::vector<float> start(around.fraction.size());
  for (std::size_t i = 0; i < start.size(); ++i) start[i] = inverse_h(around.fraction[i]);
  State state;
  state.set("v", Tensor::from(start, shape));
  state.set("low", Tensor::from(around.low, shape));
  state.set("width", Tensor::from(around.width, shape));
  state.set("mean", Tensor(DType::f32, shape));
  state.set("variance", Tensor(DType::f32, shape));
  state.set("scale", Tensor::from(scale, Shape{static_cast<std::int64_t>(scale.size())}));

  const Plan plan = compile(rounding_graph(layer, options.lr), {.batch = batch});
  RunContext context = plan.context(state);
  Tensor batch_x(DType::f32, layer.input().type().bind(batch).shape);
  Tensor batch_y(DType::f32, layer.node->types()[0].bind(batch).shape);
  context.bind("x", batch_x);
  context.bind("y", batch_y);
  Rng rng(options.seed, stable_id(layer.name));
  const auto n = static_cast<std::uint64_t>(x.shape()[0].value());
  const double warm = options.warmup * static_cast<double>(options.iterations);
  for (std::int64_t t = 0; t < options.iterations; ++t) {
    stop_if_interrupted();
    for (std::int64_t row = 0; row < batch; ++row) {
      const auto sample = static_cast<std::int64_t>(rng.below(n));
      const Tensor from_x = x.slice(sample, sample + 1), from_y = y.slice(sample, sample + 1);
      std::memcpy(batch_x.data() + row * from_x.bytes(), from_x.data(),
                  static_cast<std::size_t>(from_x.bytes()));
      std::memcpy(batch_y.data() + row * from_y.bytes(), from_y.data(),
                  static_cast<std::size_t>(from_y.bytes()));
    }
    const double past = static_cast<double>(t) - warm,
                 progress = past / std::max(1.0, static_cast<double>(options.iterations) - warm);
    const double beta =
        options.beta_first + (options.beta_last - options.beta_first) * std::max(0.0, progress);
    context.set("beta", static_cast<float>(beta));
    context.set("lambda", past < 0 ? 0.0f : static_cast<float>(options.regularization));
    context.set("step", static_cast<float>(t + 1));
    context.run();
  }
  const float loss = options.iterations > 0 ? context.output("loss").item() : 0;
  check(std::isfinite(loss), "adaround: the error of '", layer.name, "' became ", loss);
  std::vector<float> h = state.get("v").to_vector<float>();
  for (float& v : h) {
    v = static_cast<float>(
        std::clamp(kStretch / (1 + std::exp(-static_cast<double>(v))) + kShift, 0.0, 1.0));
  }
  return h;
}

std::vector<float> decoded(const CodebookTensor& codebook) {
  std::vector<float> out(codebook.indices.size());
  codebook.decode(out);
  return out;
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double v : values) total += v;
  return total;
}

}  // namespace

CodebookTensor round_layer(const Layer& layer, const CodebookTensor& codebook,
                           std::span<const float> weights, const Tensor& x, const Tensor& y,
                           const AdaRoundOptions& options, RoundedLayer* report) {
  const std::int64_t n = x.shape()[0].value(), batch = std::min(options.batch, n);
  Meter meter(layer, x, y, batch);
  const std::vector<double> nearest = meter(decoded(codebook));
  const double target = sum(meter(std::vector<float>(weights.size())));  // sum of squares of y
  check(std::isfinite(sum(nearest)) && std::isfinite(target), "adaround: what '", layer.name,
        "' reads or gives on the calibration samples is not finite");
  const auto row = static_cast<double>(CodebookFormat::row_length(codebook.shape));
  std::vector<float> scale(nearest.size());
  for (std::size_t c = 0; c < scale.size(); ++c) {
    // A channel that nearest entries get right stays as it is.
    if (nearest[c] > 1e-12 * target) {
      scale[c] = static_cast<float>(row / (nearest[c] * static_cast<double>(batch)));
    }
  }
  const Neighbours around = neighbours(codebook, weights);
  const std::vector<float> h = learn(layer, around, scale, x, y, batch, options);
  CodebookTensor out = codebook;
  for (std::size_t i = 0; i < h.size(); ++i) {
    if (around.width[i] > 0) out.indices[i] = h[i] >= 0.5f ? around.next[i] : around.index[i];
  }
  const std::vector<double> learned = meter(decoded(out));
  std::vector<double> final = nearest;
  const auto length = static_cast<std::size_t>(row);
  for (std::size_t c = 0; c < final.size(); ++c) {
    if (learned[c] < nearest[c]) {
      final[c] = learned[c];
    } else {
      std::copy_n(codebook.indices.begin() + static_cast<std::ptrdiff_t>(c * length), length,
                  out.indices.begin() + static_cast<std::ptrdiff_t>(c * length));
    }
  }
  std::size_t changed = 0;
  out.error = 0;
  const std::vector<float> rounded = decoded(out);
  for (std::size_t i = 0; i < rounded.size(); ++i) {
    const double d = static_cast<double>(weights[i]) - rounded[i];
    out.error += d * d;
    changed += out.indices[i] != codebook.indices[i];
  }
  out.changed = static_cast<double>(changed) / static_cast<double>(rounded.size());
  if (report) {
    const double whole = std::max(target, 1e-300);
    *report = {layer.name, sum(nearest) / whole, sum(final) / whole, out.changed};
  }
  return out;
}

namespace {

constexpr const char* kName = "adaround";

void require_roundable(const CompressionPlan& plan) {
  plan.require_plain(kName);
  require_layers(plan, kName);
  for (const auto& item : plan.tensors) {
    check(!item.choice || item.choice->spec.scale_block() == 0, kName, ": '", item.name,
          "' is to have a scale per block; dc, fisher, idc and lc fit those");
    check(!item.choice || item.choice->spec.vector_len() == 1, kName, ": '", item.name,
          "' is to have entries of ", item.choice ? item.choice->spec.vector_len() : 1,
          " weights; dc, fisher, idc, lc and dkm make those");
  }
}

PostTrained round_all(const AdaRoundOptions& options, const TrainedNetwork& network,
                      const CompressionPlan& plan, const CalibrationSet& samples,
                      std::vector<RoundedLayer>* reports) {
  Codebooks out;
  State quantized = decoded_state(network.state, {});
  if (reports) reports->clear();
  for (const Layer& layer : layers_of(network.inference, plan.compressed())) {
    check(layer.sharing.empty(), kName, ": '", layer.name,
          "' is read by several layers; expected one");
    const TensorPlan& item = *plan.find(layer.name);
    const auto weights = network.state.get(layer.name).span<float>();
    const CodebookTensor nearest =
        fit_tensor(layer.name, item.choice->spec, item.shape, item.choice->group_rows, weights);
    const Tensor y = activations(layer.node->output(), network.state, samples);
    const Tensor x = activations(layer.input(), quantized, samples);
    RoundedLayer rounded;
    CodebookTensor c = round_layer(layer, nearest, weights, x, y, options, &rounded);
    if (reports) reports->push_back(rounded);
    quantized.set(layer.name, Tensor::from(decoded(c), item.shape));
    out.emplace(layer.name, std::move(c));
  }
  CStepReport report = measured(network.state, out);
  double changed = 0, count = 0;
  for (auto& tensor : report.tensors) {
    const CodebookTensor& c = out.at(tensor.name);
    tensor.changed = c.changed;
    changed += c.changed * static_cast<double>(c.indices.size());
    count += static_cast<double>(c.indices.size());
  }
  report.changed = changed / count;
  return {std::move(out), std::move(report)};
}

}  // namespace

PostTraining adaround(AdaRoundOptions options, std::vector<RoundedLayer>* layers) {
  const auto run = [=](const TrainedNetwork& network, const CompressionPlan& plan,
                       const CalibrationSet* samples) {
    return round_all(options, network, plan, *samples, layers);
  };
  return {kName, options.samples, run, require_roundable};
}

MethodRow adaround_row() {
  const AdaRoundOptions usual;
  return {.name = kName,
          .doc = "the neighbouring entry each weight takes is learned, layer by layer",
          .settings = {calibration_samples(),
                       Setting::whole("adaround-steps", usual.iterations,
                                      "AdaRound: steps of Adam for each layer", "adaround_steps", 1,
                                      1e7),
                       Setting::whole("adaround-batch", usual.batch, "AdaRound: samples per step",
                                      "adaround_batch", 1, 1 << 20),
                       Setting::above_zero("adaround-lr", usual.lr, "AdaRound: learning rate",
                                           "adaround_lr"),
                       Setting::number("adaround-lambda", usual.regularization,
                                       "AdaRound: weight of the term that makes roundings whole",
                                       "adaround_lambda", 0, 1e9)},
          .after_training = [](const Settings& s, std::uint64_t seed) {
            AdaRoundOptions options;
            options.samples = s.whole(kCalibrationSamples);
            options.iterations = s.whole("adaround-steps");
            options.batch = s.whole("adaround-batch");
            options.lr = s.number("adaround-lr");
            options.regularization = s.number("adaround-lambda");
            options.seed = seed;
            return adaround(options);
          }};
}

}  // namespace tessera::quant
