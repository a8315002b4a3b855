#include "apps/images/zoo_network.h"

#include <charconv>

#include "models/zoo.h"
#include "nn/classification.h"

namespace tessera::apps {

namespace {

constexpr const char *kWidth = "width", *kStem = "stem";

double parse_width(const std::string& text) {
  double width = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, width);
  check(error == std::errc() && stop == end && width > 0 && width <= 64,
        "--width must be a number above 0 and at most 64, got '", text, "'");
  return width;
}

}  // namespace

Choice width_choice() {
  return {kWidth, "multiplier of the channels (resnet20, mobilenet_v1, ...)", {}};
}

Choice stem_choice() {
  return {kStem,
          "what stands behind the first convolution of resnet20 and its kin: relu, or linear for "
          "nothing, as in the code of MOCQ's authors",
          {}};
}

Network zoo_network(const std::string& name, const nn::Task& task, const Config& choices) {
  const std::vector<Field> targets = task.targets();
  const Field* labels = find_field(targets, "y");
  check(labels != nullptr, "the networks of the zoo classify; the task is ", task.name());
  models::BuildOptions options;
  options.classes = labels->below;
  Config settings = {{"network", name}};
  const auto width = choices.find(kWidth);
  if (width != choices.end() && !width->second.empty()) {
    options.width = parse_width(width->second);
    settings[kWidth] = width->second;
  }
  const auto stem = choices.find(kStem);
  if (stem != choices.end() && !stem->second.empty()) {
    check(stem->second == "relu" || stem->second == "linear",
          "--stem must be relu or linear, got '", stem->second, "'");
    options.stem_relu = stem->second == "relu";
    settings[kStem] = stem->second;
  }
  models::Built built = models::build(name, options);
  return {nn::as_network(std::move(built.network)), std::move(settings)};
}

std::shared_ptr<const nn::Task> zoo_task(const std::string& name, std::int64_t classes) {
  return std::make_shared<nn::Classification>(models::entry(name).sample, classes);
}

}  // namespace tessera::apps
