// imagenet: convolutional networks on ImageNet and sets kept like it, trained, compressed, and run
// from their codebooks.
#include "apps/cli/benchmark.h"
#include "apps/images/image_data.h"
#include "apps/images/zoo_network.h"
#include "datasets/imagenet.h"
#include "datasets/prefetch.h"
#include "nn/classification.h"

namespace tessera::apps {

namespace {

namespace fs = std::filesystem;
using datasets::ImageBatches;
using Sources = std::vector<std::shared_ptr<const ImageBatches>>;

// Pictures passed over by --on-bad-image skip.
std::vector<std::string> bad_images(const Sources& sources) {
  std::vector<std::string> out;
  for (const auto& source : sources) {
    for (const auto& bad : source->bad_images()) {
      out.push_back(cat(source->name(), ": ", bad.file, " left out: ", bad.reason));
    }
  }
  return out;
}

// "crop" is a random part of the picture, of random size and shape.
std::optional<datasets::PhotoAugment> photo_augment(const std::string& text) {
  if (text == "none") return std::nullopt;
  datasets::PhotoAugment out;
  out.min_area = 1;
  out.flip = 0;
  for (const std::string& word : word_list(text, "--augment")) {
    check(word == "crop" || word == "flip",
          "--augment: expected none, or a list of crop and flip; got '", word, "'");
    if (word == "crop") out.min_area = datasets::PhotoAugment().min_area;
    if (word == "flip") out.flip = datasets::PhotoAugment().flip;
  }
  return out;
}

Data pictures(const DataRequest& request) {
  check(!request.from.empty(),
        "--data: expected a folder of pictures, or TESSERA_DATA=DIR; there "
        "is no built-in set (bench takes --data random)");
  const fs::path dir = request.from;
  datasets::ImageOptions options;
  const Shape sample = image_sample(request);
  options.crop = sample[-1].value();
  check(!request.raw,
        "imagenet measures models with the input 'x'; this one carries its preprocessing");
  if (request.choices.at("preprocess") == "caffe") options.format = datasets::PixelFormat::caffe();
  if (request.choices.at("on-bad-image") == "skip") {
    options.on_bad_image = datasets::OnBadImage::skip;
  }
  Data out;
  out.in_memory = false;
  auto sources = std::make_shared<Sources>();
  const auto source = [options, sources](const datasets::ImageFiles& files, std::uint64_t seed,
                                         std::optional<datasets::PhotoAugment> augment) {
    datasets::ImageOptions own = options;
    own.seed = seed;
    own.augment = augment;
    sources->push_back(std::make_shared<ImageBatches>(files, own));
    return sources->back();
  };
  datasets::ImageFiles val;
  out.text = "pictures in " + dir.string();
  if (fs::is_directory(dir / "train")) {
    datasets::ImageSplit split = datasets::imagenet(dir);
    out.text += cat(" (", split.train.size(), " training and ", split.val.size(), " test pictures");
    val = std::move(split.val);
    out.train = [source, train = std::move(split.train)](std::uint64_t seed,
                                                         const std::string& augment, std::int64_t) {
      return source(train, seed, photo_augment(augment));
    };
  } else {
    val = datasets::imagenet_val(dir);
    out.text += cat(" (", val.size(), " test pictures, none to train on");
  }
  out.text += cat(", ", val.classes(), " classes)");
  out.task = std::make_shared<nn::Classification>(sample, val.classes());
  out.settings = {{"preprocess", request.choices.at("preprocess")}};
  out.tests = {{"test", std::make_shared<datasets::Prefetch>(source(val, 0, std::nullopt))}};
  out.unlabelled = [source](const std::string& folder) {
    return source(datasets::unlabelled_images(folder), 0, std::nullopt);
  };
  out.problems = [sources] { return bad_images(*sources); };
  return out;
}

// Half the usual 256 pictures a step at half the rate: what two cores hold.
Recipes recipes(const std::string& name) {
  const bool mobile = name.starts_with("mobilenet") || name == "squeezenet";
  Recipes out;
  TrainRecipe& train = out.train;
  train.epochs = 30;
  train.batch = 128;
  train.lr = name == "squeezenet" ? 0.02 : 0.1;
  train.lr_final = 0;
  train.warmup = 0.15;
  train.optimizer.weight_decay = mobile ? 4e-5 : 1e-4;
  train.label_smoothing = 0.1;
  train.augment = "crop,flip";
  CompressRecipe& compress = out.compress;
  compress.batch = 128;
  compress.optimizer.weight_decay = train.optimizer.weight_decay;
  compress.augment = "crop,flip";
  // A prediction of 1000 classes for each of 1.3 million pictures would take 2.6 GB.
  compress.methods.set("distill", "teacher");
  compress.methods.set({{"mu", 1e-3},
                        {"mu-growth", 1.7},
                        {"lc-steps", 12},
                        {"lc-epochs", 1},
                        {"first-epochs", 1},
                        {"lr", train.lr / 20},
                        {"lr-decay", 0.85},
                        {"lr-fall", 1},
                        {"lc-finish", 0}});
  return out;
}

Benchmark imagenet() {
  Benchmark out;
  out.name = "imagenet";
  out.about = "Convolutional networks on ImageNet and sets kept like it";
  out.data_help =
      "folder with train/CLASS/*.JPEG and val/CLASS/*.JPEG; to measure only also CLASS/*.jpg, or "
      "pictures with labels.txt (default: TESSERA_DATA)";
  out.calibration_help = "folder of pictures (*.jpg, *.jpeg), which may lie in folders below it";
  out.networks = {"resnet18", "resnet34", "resnet50", "mobilenet_v1", "mobilenet_v2", "squeezenet"};
  out.network_choices = {width_choice()};
  out.data_choices = {{"preprocess",
                       "RGB by the moments of ImageNet, or BGR from 0 to 255 minus the mean colour",
                       {"imagenet", "caffe"}},
                      {"on-bad-image",
                       "a picture that cannot be decoded ends the run, or is left out and reported",
                       {"stop", "skip"}}};
  out.task = [](const std::string& name, const Config&) { return zoo_task(name, 1000); };
  out.network = zoo_network;
  out.data = pictures;
  out.recipes = recipes;
  out.import_rules["squeezenet"] = {R"(/(fire\d)\/conv1x1_1\.(.*)/=$1.squeeze1x1.$2)",
                                    R"(/(fire\d)\/conv(.x.)_2\.(.*)/=$1.expand$2.$3)",
                                    R"(/conv_final\.(.*)/=conv10.$1)"};
  return out;
}

}  // namespace

}  // namespace tessera::apps

int main(int argc, char** argv) {
  return tessera::apps::run_benchmark(argc, argv, tessera::apps::imagenet());
}
