#include "apps/common/random_images.h"

#include <cstring>
#include <numeric>

#include "core/rng.h"

namespace tessera::apps {

namespace {

class RandomImages final : public datasets::IndexedSource {
 public:
  RandomImages(Shape sample, std::int64_t classes, std::int64_t samples)
      : sample_(std::move(sample)), classes_(classes) {
    Rng rng(1, stable_id("random images"));
    x_.resize(static_cast<std::size_t>(samples * sample_.numel()));
    for (float& value : x_) value = rng.uniform(-1, 1);
    y_.resize(static_cast<std::size_t>(samples));
    for (auto& label : y_) {
      label = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(classes)));
    }
  }
  std::string name() const override { return kRandomData; }
  std::int64_t samples() const override { return static_cast<std::int64_t>(y_.size()); }
  std::int64_t classes() const override { return classes_; }
  Shape sample_shape() const override { return sample_; }
  void positions(std::int64_t, std::int64_t first, Tensor& index) const override {
    const auto out = index.span<std::int32_t>();
    std::iota(out.begin(), out.end(), static_cast<std::int32_t>(first));
  }
  void fill(std::int64_t, std::int64_t first, Tensor& x, Tensor& y) const override {
    std::memcpy(x.data(), x_.data() + first * sample_.numel(), static_cast<std::size_t>(x.bytes()));
    std::memcpy(y.data(), y_.data() + first, static_cast<std::size_t>(y.bytes()));
  }
  void gather(std::int64_t, std::span<const std::int32_t> rows, Tensor& x,
              Tensor& y) const override {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto to = static_cast<std::int64_t>(i);
      Tensor xs = x.slice(to, to + 1), ys = y.slice(to, to + 1);
      fill(-1, rows[i], xs, ys);
    }
  }

 private:
  Shape sample_;
  std::int64_t classes_;
  std::vector<float> x_;
  std::vector<std::int32_t> y_;
};

}  // namespace

Data random_data(const Shape& sample, std::int64_t classes, std::int64_t samples) {
  const auto images = std::make_shared<const RandomImages>(sample, classes, samples);
  Data out;
  out.text = cat(samples, " random samples ", sample.text());
  out.classes = classes;
  out.settings = {{"data", kRandomData}};
  out.train = [images](std::uint64_t, const std::string&) { return images; };
  out.tests = {{kRandomData, images}};
  return out;
}

}  // namespace tessera::apps
