#include "quant/qat.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quant/qat_transforms.h"

namespace tessera::quant {

namespace {

constexpr std::pair<const char*, QatKind> kNames[] = {
    {"ste", QatKind::ste}, {"twn", QatKind::twn},   {"ttq", QatKind::ttq},
    {"lsq", QatKind::lsq}, {"ewgs", QatKind::ewgs}, {"dkm", QatKind::dkm}};

bool is_ternary(QatKind kind) {
  return kind == QatKind::twn || kind == QatKind::ttq;
}

double mean_size(std::span<const float> w) {
  double sum = 0;
  for (const float v : w) sum += std::fabs(v);
  return sum / static_cast<double>(w.size());
}

Tensor numbers(std::vector<float> values) {
  const auto n = static_cast<std::int64_t>(values.size());
  return Tensor::from(std::move(values), n == 1 ? Shape{} : Shape{n});
}

Tensor centroids(const CodebookTensor& c) {
  const std::int64_t d = c.format.vector_len;
  return Tensor::from(c.entries, d == 1 ? Shape{c.k} : Shape{c.k, d});
}

// The weights of {-n, 0, p} by a threshold on |w|, which is not the nearest-entry rule.
CodebookTensor ternary(const TensorPlan& item, std::span<const float> w, double threshold, double n,
                       double p) {
  CodebookTensor c;
  c.shape = item.shape;
  c.format.bits = item.choice->spec.bits();
  c.k = 3;
  c.entries = {static_cast<float>(-n), 0, static_cast<float>(p)};
  c.indices.resize(w.size());
  for (std::size_t i = 0; i < w.size(); ++i) {
    c.indices[i] = w[i] > threshold ? 2 : -w[i] > threshold ? 0 : 1;
    const double d = static_cast<double>(w[i]) - c.entries[c.indices[i]];
    c.error += d * d;
  }
  return c;
}

CodebookTensor snap_twn(const TensorPlan& item, std::span<const float> w) {
  const double threshold = 0.7 * mean_size(w);
  double sum = 0, count = 0;
  for (const float v : w) {
    if (std::fabs(v) > threshold) sum += std::fabs(v), ++count;
  }
  const double a = sum / std::max(count, 1.0);
  return ternary(item, w, threshold, a, a);
}

// Entries in rising order, as files want them.
void sort_entries(CodebookTensor& c) {
  std::vector<std::uint8_t> order(c.entries.size()), place(c.entries.size());
  std::iota(order.begin(), order.end(), std::uint8_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint8_t a, std::uint8_t b) { return c.entries[a] < c.entries[b]; });
  for (std::size_t i = 0; i < order.size(); ++i) place[order[i]] = static_cast<std::uint8_t>(i);
  for (auto& index : c.indices) index = place[index];
  std::sort(c.entries.begin(), c.entries.end());
}

// The levels as the forward pass takes them.
CodebookTensor snap_ttq(const TensorPlan& item, std::span<const float> w, const Tensor& levels) {
  float most = 0;
  for (const float v : w) most = std::max(most, std::fabs(v));
  const auto values = levels.span<float>();
  CodebookTensor c =
      ternary(item, w, 0.05 * most, std::max(values[0], 0.0f), std::max(values[1], 0.0f));
  sort_entries(c);
  return c;
}

// q of ewgs in steps of 1 / last.
std::uint8_t ewgs_index(float w, float low, float high, float last) {
  const float x = std::clamp((w - low) / std::max(high - low, kEwgsWidth), 0.0f, 1.0f);
  return static_cast<std::uint8_t>(std::nearbyint(x * last));
}

// Cells of [low, high] and levels of a scale of their own: not the nearest-entry rule.
CodebookTensor snap_ewgs(const TensorPlan& item, std::span<const float> w, const Tensor& interval,
                         float scale) {
  const auto ends = interval.span<float>();
  for (const float v : {ends[0], ends[1], scale}) {
    check(std::isfinite(v), "'", item.name, "': an end of the interval or its scale became ", v,
          "; a smaller learning rate may help");
  }
  CodebookTensor c;
  c.shape = item.shape;
  c.format.bits = item.choice->spec.bits();
  const int last = (1 << c.format.bits) - 1;
  c.k = last + 1;
  for (int j = 0; j <= last; ++j) {
    const float q = static_cast<float>(j) / static_cast<float>(last);
    c.entries.push_back(scale * (2 * q - 1));
  }
  c.indices.resize(w.size());
  for (std::size_t i = 0; i < w.size(); ++i) {
    c.indices[i] = ewgs_index(w[i], ends[0], ends[1], static_cast<float>(last));
    const double d = static_cast<double>(w[i]) - c.entries[c.indices[i]];
    c.error += d * d;
  }
  sort_entries(c);
  return c;
}

std::vector<float> lsq_entries(int bits, float step) {
  const UniformLevels levels = uniform_levels(bits);
  std::vector<float> out;
  for (int q = -levels.negative; q <= levels.positive; ++q) {
    if (bits > 1 || q != 0) out.push_back(static_cast<float>(q) * step);
  }
  return out;
}

}  // namespace

QatKind parse_qat(const std::string& text) {
  for (const auto& [name, kind] : kNames) {
    if (text == name) return kind;
  }
  fail("quantization-aware training '", text,
       "' is unknown; there are ste, twn, ttq, lsq, ewgs and dkm");
}

const char* name(QatKind kind) {
  for (const auto& [name, known] : kNames) {
    if (kind == known) return name;
  }
  return "?";
}

bool Qat::takes(const CodebookSpec& spec) const {
  const bool adaptive = spec.kind() == CodebookSpec::Kind::kAdaptive;
  switch (options_.kind) {
    case QatKind::ste:
      return spec.scale_block() == 0 && spec.vector_len() == 1;  // its entries are those of a fit
    case QatKind::lsq:
    case QatKind::ewgs:
      return adaptive && spec.size() == 1 << spec.bits();
    case QatKind::dkm:
      return adaptive || spec.vector_len() > 1;
    default:
      return adaptive;
  }
}

void Qat::require(const CompressionPlan& plan) const {
  TrainedMethod::require(plan);
  for (const auto& item : plan.tensors) {
    if (!item.choice || options_.kind == QatKind::ste) continue;
    check(item.choice->group_rows == 0, name(), ": '", item.name,
          "' must have one codebook for the tensor, not one for ", item.choice->group_rows,
          " rows");
    check(!is_ternary(options_.kind) || item.choice->spec.bits() == 2, name(),
          " makes three levels, which take 2 bits; '", item.name, "' is to have ",
          item.choice->spec.bits());
  }
}

void Qat::prepare(nn::Trainer& trainer, const Codebooks& direct) {
  State& state = trainer.state();
  for (const auto& [weight, c] : direct) {
    const auto w = std::as_const(state).get(weight).span<float>();
    const double size = mean_size(w);
    switch (options_.kind) {
      case QatKind::lsq: {
        const UniformLevels levels = uniform_levels(choice(weight)->spec.bits());
        const double start =
            levels.negative == levels.positive ? size : 2 * size / std::sqrt(levels.positive);
        state.set(weight + kQatStep, numbers({static_cast<float>(start)}));
        break;
      }
      case QatKind::ttq: {
        const CodebookTensor ternary = snap_twn({weight, c.shape, *choice(weight), ""}, w);
        state.set(weight + kQatLevels, numbers({ternary.entries[2], ternary.entries[2]}));
        break;
      }
      case QatKind::ewgs: {
        double sum = 0, squares = 0, qw = 0, qq = 0;
        for (const float v : w) sum += v, squares += static_cast<double>(v) * v;
        const double n = static_cast<double>(w.size()), mean = sum / n;
        const double reach = 3 * std::sqrt(std::max(squares / n - mean * mean, 0.0));
        const auto low = static_cast<float>(-reach), high = static_cast<float>(reach);
        const auto last = static_cast<float>((1 << choice(weight)->spec.bits()) - 1);
        for (const float v : w) {  // least squares of v by s (2 q - 1)
          const double level = 2.0 * ewgs_index(v, low, high, last) / last - 1;
          qw += level * v, qq += level * level;
        }
        state.set(weight + kQatInterval, numbers({low, high}));
        state.set(weight + kQatScale, numbers({static_cast<float>(qw / std::max(qq, 1e-12))}));
        break;
      }
      case QatKind::dkm:
        state.set(weight + kQatCentroids, centroids(c));
        state.set(weight + kQatWidth, numbers({cell_width(c)}));
        break;
      default:
        break;
    }
  }
}

void Qat::attach(nn::Trainer& trainer) {
  trainer.set_weight_transform(make_transform(options_, plan()));
}

void Qat::set_scalars(nn::Trainer& trainer, double progress) {
  if (options_.kind != QatKind::dkm) return;
  trainer.set("dkm.temperature",
              options_.dkm_begin * std::pow(options_.dkm_end / options_.dkm_begin, progress));
}

void Qat::finish_epoch(nn::Trainer& trainer, std::int64_t) {
  if (options_.kind != QatKind::ste) return;
  State& state = trainer.state();
  CStepReport ignored;
  for (const auto& [weight, c] : fit_weights(state, codebooks(trainer), ignored)) {
    state.set(weight + kQatEntries, Tensor::from(c.entries, c.format.entries_shape(c.shape, c.k)));
  }
}

Codebooks Qat::snap(const nn::Trainer& trainer) const {
  const State& state = trainer.state();
  if (is_ternary(options_.kind) || options_.kind == QatKind::ewgs) {
    Codebooks out;
    for (const auto& item : plan().tensors) {
      if (!item.choice) continue;
      const auto w = state.get(item.name).span<float>();
      const auto own = [&](const char* suffix) { return state.get(item.name + suffix); };
      out.emplace(item.name, options_.kind == QatKind::twn ? snap_twn(item, w)
                             : options_.kind == QatKind::ttq
                                 ? snap_ttq(item, w, own(kQatLevels))
                                 : snap_ewgs(item, w, own(kQatInterval), own(kQatScale).item()));
    }
    return out;
  }
  return assign_all(plan(), state, [&](const std::string& weight) {
    switch (options_.kind) {
      case QatKind::lsq:
        return lsq_entries(choice(weight)->spec.bits(), state.get(weight + kQatStep).item());
      case QatKind::dkm:
        return state.get(weight + kQatCentroids).to_vector<float>();
      default:
        return state.get(weight + kQatEntries).to_vector<float>();
    }
  });
}

}  // namespace tessera::quant
