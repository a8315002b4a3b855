#include "experiment/random_data.h"

#include <utility>

#include "datasets/random_samples.h"

namespace tessera::experiment {

Data random_data(std::shared_ptr<const nn::Task> task, std::int64_t samples) {
  const auto source =
      std::make_shared<const datasets::RandomSamples>(kRandomData, task->fields(), samples);
  Data out;
  out.text = cat(samples, " random samples of ", listed(task->inputs()));
  out.task = std::move(task);
  out.settings = {{"data", kRandomData}};
  out.train = [source](std::uint64_t, const std::string&, std::int64_t) { return source; };
  out.tests = {{kRandomData, source}};
  return out;
}

}  // namespace tessera::experiment
