#include "apps/images/image_data.h"

#include <charconv>

#include "datasets/batches.h"
#include "nn/classification.h"

namespace tessera::apps {

namespace {

constexpr std::string_view kSynthetic = "synthetic";
constexpr std::int64_t kMostImages = 10'000'000;

std::shared_ptr<const datasets::Batches> batches(const datasets::Dataset& data,
                                                 const datasets::Preprocess& preprocess,
                                                 const Shape& sample, std::uint64_t seed,
                                                 const datasets::Augment& augment) {
  datasets::BatchOptions options;
  options.seed = seed;
  options.sample = sample;
  options.augment = augment;
  return std::make_shared<const datasets::Batches>(data, preprocess, options);
}

}  // namespace

std::optional<BuiltIn> built_in(const std::string& from) {
  if (from.empty() || from == kSynthetic) return BuiltIn{};
  if (!from.starts_with(cat(kSynthetic, ":"))) return std::nullopt;
  std::string sizes = from.substr(kSynthetic.size() + 1);
  check(!sizes.empty(), "--data '", from,
        "': expected synthetic, synthetic:TRAIN or synthetic:TRAIN:TEST");
  for (char& c : sizes) c = c == ':' ? ',' : c;
  const auto numbers = integer_list(sizes, "--data synthetic: images", 1, kMostImages);
  check(numbers.size() <= 2, "--data '", from, "': expected synthetic:TRAIN:TEST");
  return BuiltIn{numbers[0], numbers.size() > 1 ? numbers[1] : 0};
}

Shape image_sample(const DataRequest& request) {
  const Field* x = find_field(request.inputs, "x");
  check(x != nullptr, "a network for images reads 'x', this one ", listed(request.inputs));
  return x->sample;
}

Data image_data(ImageSet set, const DataRequest& request) {
  const Shape sample = image_sample(request);
  Data out;
  const bool trains = set.split.train.images.defined();
  out.text =
      cat(set.source, " (", trains ? cat(set.split.train.size(), " training and ") : std::string(),
          set.split.test.size(), " test images)");
  const std::int64_t classes = set.split.test.classes;
  out.task = std::make_shared<nn::Classification>(sample, classes);
  out.settings = std::move(set.settings);
  if (trains) out.settings["data"] = set.split.train.name;
  out.preprocess = set.preprocess;
  if (set.parts.empty()) set.parts = {{"test", set.split.test.size()}};
  std::int64_t first = 0;
  for (const auto& [name, count, held_out] : set.parts) {
    datasets::Dataset part = set.split.test;
    if (set.parts.size() > 1) part.name = name;
    part.images = part.images.slice(first, first + count);
    part.labels = part.labels.slice(first, first + count);
    out.tests.push_back({name, batches(part, set.preprocess, sample, 0, {}), held_out});
    first += count;
  }
  if (!trains) return out;
  out.unlabelled = [read = set.unlabelled, preprocess = set.preprocess, classes,
                    sample](const std::string& folder) {
    const Tensor images = read(folder);
    const Tensor labels(DType::s32, {images.shape()[0].value()});
    return batches({folder, images, labels, classes}, preprocess, sample, 0, {});
  };
  out.train = [train = set.split.train, preprocess = set.preprocess, full = set.augment, sample](
                  std::uint64_t seed, const std::string& augment, std::int64_t) {
    return batches(train, preprocess, sample, seed, parse_augment(augment, full));
  };
  return out;
}

datasets::Augment parse_augment(const std::string& text, const datasets::Augment& full) {
  datasets::Augment out;
  out.border = full.border;
  if (text == "none") return out;
  for (const std::string& word : word_list(text, "--augment")) {
    const bool known = word == "crop" || word == "flip" || word == "cutout";
    check(known, "--augment: expected none, or a list of crop, flip, cutout; got '", word, "'");
    if (word == "crop") out.pad = full.pad;
    if (word == "flip") out.flip = full.flip;
    if (word == "cutout") out.cutout = full.cutout;
    check(word == "crop"   ? out.pad > 0
          : word == "flip" ? out.flip > 0
                           : out.cutout > 0,
          "--augment: ", word, " does not suit these images");
  }
  return out;
}

std::string exact_list(const std::vector<float>& values) {
  std::string out;
  for (const float value : values) {
    char buffer[64];
    const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
    out += (out.empty() ? "" : ",") + std::string(buffer, end);
  }
  return out;
}

}  // namespace tessera::apps
