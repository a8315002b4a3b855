#include "apps/coco/detection_data.h"

#include <optional>

#include "apps/cli/cli.h"
#include "apps/images/image_data.h"
#include "datasets/prefetch.h"
#include "datasets/synthetic_detection.h"
#include "nn/detection_task.h"

namespace tessera::apps {

namespace {

namespace fs = std::filesystem;
using datasets::CocoSet;
using datasets::DetectionBatches;
using datasets::DetectionBatchOptions;

constexpr const char *kFit = "fit", *kPreprocess = "preprocess";
constexpr std::int64_t kUsualObjects = 100;  // that a sample of COCO has room for; there are 93

// The parts of a data set; `train` reads its annotations when it is asked for.
struct Parts {
  std::string text;  // for people
  std::string name;
  std::function<DetectionSet()> train;
  std::optional<DetectionSet> validation;
  DetectionSet test;
  std::int64_t most = 0;
  bool in_memory = false;
  std::string usual = "flip";  // of --augment
};

DetectionSet read_set(const fs::path& annotations, const fs::path& pictures) {
  auto set = std::make_shared<const CocoSet>(datasets::read_coco(annotations));
  return {set, datasets::pictures_in(pictures, *set)};
}

std::string counts(const CocoSet& set, const char* what) {
  return cat(set.images.size(), " ", what, " pictures with ", set.boxes(), " boxes");
}

Parts built_in_parts(const BuiltIn& sizes) {
  datasets::SyntheticDetection options;
  if (sizes.train > 0) options.train = sizes.train;
  if (sizes.test > 0) {
    options.test = sizes.test;
    options.validation = std::min(options.validation, sizes.test);
  }
  auto split = datasets::synthetic_detection(options);
  const auto set = [](datasets::AnnotatedPictures part) {
    return DetectionSet{std::make_shared<const CocoSet>(std::move(part.set)),
                        datasets::pictures_of(part.pixels)};
  };
  Parts out;
  out.name = "synthetic";
  out.most = std::max({datasets::most_objects(split.train.set),
                       datasets::most_objects(split.validation.set),
                       datasets::most_objects(split.test.set)});
  out.text = cat("the built-in pictures (", counts(split.train.set, "training"), ", ",
                 counts(split.validation.set, "validation"), ", ", counts(split.test.set, "test"));
  out.validation = set(std::move(split.validation));
  out.test = set(std::move(split.test));
  out.train = [train = set(std::move(split.train))] { return train; };
  out.in_memory = true;
  out.usual = "flip,turn,colours";
  return out;
}

Parts coco_parts(const fs::path& dir) {
  Parts out;
  out.name = "coco";
  for (const char* year : {"2017", "2014", ""}) {
    const fs::path val = dir / "annotations" / cat("instances_val", year, ".json"),
                   train = dir / "annotations" / cat("instances_train", year, ".json");
    if (!fs::exists(val)) continue;
    out.test = read_set(val, dir / cat("val", year));
    out.most = std::max(kUsualObjects, datasets::most_objects(*out.test.set));
    out.text = cat("COCO in ", dir.string(), " (", counts(*out.test.set, "test"));
    if (fs::exists(train)) {
      out.train = [train, pictures = dir / cat("train", year)] {
        return read_set(train, pictures);
      };
    } else {
      out.text += ", none to train on";
    }
    return out;
  }
  const fs::path single = dir / "instances.json";
  check(fs::exists(single), "--data ", dir.string(),
        ": expected annotations/instances_val2017.json (or 2014, or no year), or instances.json");
  out.test = read_set(single, fs::is_directory(dir / "images") ? dir / "images" : dir);
  out.most = datasets::most_objects(*out.test.set);
  out.text = cat("the pictures in ", dir.string(), " (", counts(*out.test.set, "test"),
                 ", which also train");
  out.train = [set = out.test] { return set; };
  return out;
}

Parts parts_of(const DataRequest& request) {
  if (const auto synthetic = built_in(request.from)) return built_in_parts(*synthetic);
  return coco_parts(request.from);
}

std::optional<datasets::DetectionAugment> parse_augment_words(const std::string& text) {
  if (text == "none") return std::nullopt;
  datasets::DetectionAugment out;
  const double crop = out.min_area, flip = out.flip;
  out.min_area = 1;
  out.flip = 0;
  for (const std::string& word : word_list(text, "--augment")) {
    check(word == "crop" || word == "flip" || word == "turn" || word == "colours",
          "--augment: expected none, usual, or a list of crop, flip, turn and colours; got '", word,
          "'");
    if (word == "crop") out.min_area = crop;
    if (word == "flip") out.flip = flip;
    if (word == "turn") out.turn = true;
    if (word == "colours") out.colours = true;
  }
  return out;
}

}  // namespace

std::vector<Choice> detection_choices() {
  return {{kFit,
           "how a picture becomes a sample: whole with grey beside it, or stretched",
           {"letterbox", "stretch"}},
          {kPreprocess, "RGB by the moments of ImageNet, or from 0 to 1", {"imagenet", "unit"}}};
}

DetectionBatchOptions sample_options(const DataRequest& request) {
  DetectionBatchOptions out;
  const Shape sample = image_sample(request);
  check(sample.rank() == 3 && sample[0].value() == 3, "detectors read 'x' f32[3,height,width], ",
        "this one ", listed(request.inputs));
  out.height = sample[1].value();
  out.width = sample[2].value();
  out.fit =
      request.choices.at(kFit) == "stretch" ? datasets::Fit::stretch : datasets::Fit::letterbox;
  if (request.choices.at(kPreprocess) == "unit") out.format = {{0, 0, 0}, {1, 1, 1}};
  return out;
}

DetectionSet test_pictures(const DataRequest& request) {
  return parts_of(request).test;
}

Data detection_data(const DataRequest& request) {
  check(!request.raw,
        "coco measures models with the input 'x'; this one carries its preprocessing");
  DetectionBatchOptions options = sample_options(request);
  Parts parts = parts_of(request);
  options.most = parts.most;
  const auto batches = [options](const DetectionSet& set) {
    return std::make_shared<const DetectionBatches>(set.set, set.read, options);
  };
  Data out;
  const CocoSet& set = *parts.test.set;
  const std::string categories = categories_text(set);
  out.text = cat(parts.text, ", ", set.categories.size(), " categories)");
  out.task = std::make_shared<nn::Detection>(Shape{3, options.height, options.width},
                                             std::ssize(set.categories), parts.most);
  out.settings = {{"data", parts.name},
                  {kFit, request.choices.at(kFit)},
                  {kPreprocess, request.choices.at(kPreprocess)},
                  {"categories", categories}};
  out.in_memory = parts.in_memory;
  const auto measured = [&](const char* name, const DetectionSet& part) {
    std::shared_ptr<const BatchSource> source = batches(part);
    if (!parts.in_memory) source = std::make_shared<datasets::Prefetch>(std::move(source));
    return std::vector<TestSet>{{name, std::move(source)}};
  };
  out.tests = measured("test", parts.test);
  if (parts.validation) out.validation = measured("validation", *parts.validation);
  if (!parts.train) return out;
  // Annotations are read once, whoever asks how often.
  const auto read = std::make_shared<std::optional<DetectionSet>>();
  out.train = [options, categories, read, train = parts.train, usual = parts.usual](
                  std::uint64_t seed, const std::string& augment,
                  std::int64_t) -> std::shared_ptr<const BatchSource> {
    if (!*read) *read = train();
    const DetectionSet& set = **read;
    check(categories_text(*set.set) == categories, set.set->name,
          ": has other categories than the set that is measured");
    DetectionBatchOptions own = options;
    own.seed = seed;
    own.augment = parse_augment_words(augment == "usual" ? usual : augment);
    return std::make_shared<const DetectionBatches>(set.set, set.read, own);
  };
  return out;
}

std::string categories_text(const CocoSet& set) {
  std::string out;
  for (const auto& category : set.categories)
    out += cat(out.empty() ? "" : ", ", category.id, " ", category.name);
  return out;
}

std::vector<datasets::CocoCategory> parse_categories(const std::string& text,
                                                     const std::string& file) {
  std::vector<datasets::CocoCategory> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(", ", at), text.size());
    const std::string one = text.substr(at, end - at);
    const std::size_t space = one.find(' ');
    check(space != one.npos, file, ": categories: expected 'ID NAME', got '", one, "'");
    out.push_back(
        {integer_list(one.substr(0, space), cat(file, ": categories"), 0, 1LL << 53).front(),
         one.substr(space + 1)});
    at = end + 2;
  }
  return out;
}

}  // namespace tessera::apps
