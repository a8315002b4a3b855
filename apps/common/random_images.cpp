#include "apps/common/random_images.h"

#include <utility>

#include "core/rng.h"
#include "datasets/in_memory.h"

namespace tessera::apps {

Data random_data(const Shape& sample, std::int64_t classes, std::int64_t samples) {
  Rng rng(1, stable_id("random images"));
  Shape all{samples};
  for (const Dim dim : sample.dims()) all.push_back(dim);
  Tensor x(DType::f32, all), y(DType::s32, {samples});
  for (float& value : x.span<float>()) value = rng.uniform(-1, 1);
  for (auto& label : y.span<std::int32_t>())
    label = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(classes)));
  const auto images = std::make_shared<const datasets::InMemory>(
      std::move(x), std::move(y),
      datasets::InMemoryOptions{.name = kRandomData, .classes = classes, .shuffle = false});
  Data out;
  out.text = cat(samples, " random samples ", sample.text());
  out.classes = classes;
  out.settings = {{"data", kRandomData}};
  out.train = [images](std::uint64_t, const std::string&) { return images; };
  out.tests = {{kRandomData, images}};
  return out;
}

}  // namespace tessera::apps
