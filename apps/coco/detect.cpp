#include "apps/coco/detect.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "apps/cli/cli.h"
#include "apps/coco/detection_data.h"
#include "apps/verbs/verbs.h"
#include "core/files/model.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "core/words.h"
#include "datasets/jpeg.h"
#include "datasets/png.h"
#include "nn/box_metrics.h"
#include "nn/detection_task.h"
#include "nn/evaluator.h"
#include "ops/op_list.h"
#include "report/table.h"

namespace tessera::apps {

namespace {

namespace fs = std::filesystem;
using datasets::CocoSet;

// The categories, evenly around the circle of hues.
void colour_of(std::size_t kind, std::size_t kinds, std::uint8_t (&out)[3]) {
  const double hue =
      6.0 * static_cast<double>(kind) / static_cast<double>(std::max<std::size_t>(kinds, 1));
  for (int c = 0; c < 3; ++c) {
    const double at = std::fmod(hue + 2.0 * (3 - c), 6.0);  // distance along the circle
    const double share = std::clamp(std::abs(at - 3) - 1, 0.0, 1.0);
    out[c] = static_cast<std::uint8_t>(255 * share);
  }
}

datasets::PixelRect pixels_of(const Box& box) {
  const auto at = [](double v) { return static_cast<std::int64_t>(std::llround(v)); };
  return {at(box.x), at(box.y), at(box.x + box.width) - at(box.x),
          at(box.y + box.height) - at(box.y)};
}

// Pictures given by name, as a set: ids from 1.
DetectionSet named_pictures(const std::vector<std::string>& files,
                            const std::vector<datasets::CocoCategory>& categories) {
  auto set = std::make_shared<CocoSet>();
  set->name = "the pictures given";
  set->categories = categories;
  for (const std::string& file : files)
    set->images.push_back({std::ssize(set->images) + 1, file, 0, 0, {}});
  return {set, datasets::pictures_in("", *set)};
}

// A network on pictures, one at a time.
class Finder {
 public:
  Finder(const Model& model, datasets::DetectionBatchOptions options, DetectionSet pictures,
         const nn::DetectionOptions& found)
      : pictures_(std::move(pictures)),
        batches_(pictures_.set, pictures_.read, std::move(options)),
        plan_(compile(model.graph, model.state, {.batch = 1})),
        context_(plan_.context()),
        found_(found),
        categories_(pictures_.set->category_ids()) {
    for (const char* name : {"x", "frame"}) sample_.emplace(name, batches_.field(name).tensor(1));
    context_.bind("x", sample_.at("x"));
  }

  std::vector<DetectedBox> operator()(std::int64_t i) {
    batches_.fill(-1, i, sample_);
    context_.run();
    return nn::detections_of(context_.output("boxes").span<float>(),
                             context_.output("scores").span<float>(), categories_,
                             Frame::of(sample_.at("frame").span<float>()), found_);
  }

 private:
  DetectionSet pictures_;
  datasets::DetectionBatches batches_;
  Plan plan_;
  RunContext context_;
  nn::DetectionOptions found_;
  std::vector<std::int64_t> categories_;
  TensorMap sample_;
};

// Boxes in the colours of their categories, thicker ones of what is really there in white below.
void draw(const fs::path& file, const DetectionSet& pictures, std::int64_t i,
          const std::vector<DetectedBox>& found) {
  datasets::PictureMemory memory;
  const datasets::RgbView view = pictures.read(i, memory);
  datasets::RgbImage canvas;
  canvas.resize(view.width, view.height);
  for (std::int64_t y = 0; y < view.height; ++y)
    std::memcpy(canvas.row(y), view.row(y), static_cast<std::size_t>(3 * view.width));
  for (const TrueBox& box : pictures.set->images[static_cast<std::size_t>(i)].boxes)
    datasets::draw_outline(canvas, pixels_of(box.box), {255, 255, 255}, 1);
  const std::int64_t thick = std::max<std::int64_t>(1, view.width / 320);
  const auto ids = pictures.set->category_ids();
  for (auto box = found.rbegin(); box != found.rend(); ++box) {
    std::uint8_t colour[3];
    colour_of(static_cast<std::size_t>(std::ranges::find(ids, box->category) - ids.begin()),
              ids.size(), colour);
    datasets::draw_outline(canvas, pixels_of(box->box), colour, thick);
  }
  datasets::write_png(file, canvas.view());
}

std::string name_of(const CocoSet& set, std::int64_t id) {
  for (const auto& category : set.categories)
    if (category.id == id) return category.name;
  return std::to_string(id);
}

void report(Session& session, const nn::BoxMetrics& metrics, const CocoSet& set) {
  Table table({"", "%"});
  for (const nn::Metric& metric : metrics.metrics()) {
    table.add({metric.name, metric.value < 0 ? "-" : fixed(metric.value, metric.digits)});
    session.json()[metric.name] = metric.value;
  }
  table.print(session.text());
  Table each({"category", "AP %"});
  for (const auto& [category, ap] : metrics.category_ap) {
    session.json()["category_ap"][std::to_string(category)] = ap < 0 ? ap : 100 * ap;
    if (ap >= 0) each.add({name_of(set, category), fixed(100 * ap, 2)});
  }
  each.print(session.text());
}

}  // namespace

int detect_verb(const Benchmark& benchmark, const std::vector<std::string>& args) {
  DataFlags data(benchmark);
  RunFlags run = default_run(benchmark, "");
  nn::DetectionOptions found{.least_score = 0.3,
                             .most_overlap = nn::DetectionRules().found.most_overlap};
  std::int64_t pictures = 8;
  std::string results;
  FlagList options("Flags");
  data.add_flags(options);
  auto add = options.add_options();
  add("pictures", flag(pictures), "of the test set, where none are given; 0: all");
  add("min-score", flag(found.least_score), "of a box that is reported");
  add("results", text_flag(results, "FILE.json"),
      "write what was found in COCO's format of results");
  run.add_writing_flags(options);
  const std::string line = benchmark.name + " detect MODEL.json ";
  const auto files =
      parse_flags(args,
                  {line + "[PICTURE.jpg ...] [flags]",
                   "Finds objects in pictures, or in the first ones of the test set, and draws "
                   "their boxes into "
                   "PNG files in --out, each category in its colour; what is really there is "
                   "outlined in white.",
                   1,
                   10'000,
                   "a model file and pictures",
                   {line + "street.jpg",
                    line + "--data DIR --pictures 0 --min-score 0.005 --results found.json"}},
                  options);
  if (!files) return kExitDone;
  check_range("--pictures", static_cast<double>(pictures), 0, 1e9);
  check_range("--min-score", found.least_score, 0, 1);
  data.validate();
  Session session(run);
  const std::string& file = files->front();
  const Model model = load(file, ops::standard_ops());
  NetworkFlags(benchmark).take(model.settings, file);
  data.take(model.settings);
  const auto known = model.settings.find("categories");
  check(known != model.settings.end(), file, ": its settings do not say what its categories are");
  const DataRequest request = data.request(fields_of(model.graph, file));
  const std::vector<std::string> given(files->begin() + 1, files->end());
  const DetectionSet set = given.empty()
                               ? test_pictures(request)
                               : named_pictures(given, parse_categories(known->second, file));
  require_same_settings(file, model.settings, {{"categories", categories_text(*set.set)}});
  session.open_outputs();
  Finder find(model, sample_options(request), set, found);
  datasets::CocoResults all;
  const auto n = std::ssize(set.set->images);
  const std::int64_t shown = given.empty() && pictures > 0 ? std::min(pictures, n) : n;
  Table table({"picture", "category", "score", "x", "y", "width", "height"});
  for (std::int64_t i = 0; i < shown; ++i) {
    stop_if_interrupted();
    const datasets::CocoImage& image = set.set->images[static_cast<std::size_t>(i)];
    const auto boxes = find(i);
    all[image.id] = boxes;
    for (const DetectedBox& d : boxes) {
      const auto number = [](double v) { return fixed(v, 1); };
      table.add({image.file, name_of(*set.set, d.category), fixed(d.score, 3), number(d.box.x),
                 number(d.box.y), number(d.box.width), number(d.box.height)});
    }
    const fs::path png = session.path(fs::path(image.file).stem().string() + "-boxes.png");
    if (results.empty()) draw(png, set, i, boxes);
  }
  if (results.empty()) {
    table.print(session.text());
    session.text() << shown << " pictures in " << run.out << "/*-boxes.png\n";
  } else {
    datasets::write_coco_results(results, all);
    session.text() << results << ": what was found in " << shown << " pictures\n";
  }
  session.json() = {{"verb", "detect"}, {"file", file}, {"pictures", shown}};
  session.finish();
  return kExitDone;
}

int score_verb(const Benchmark& benchmark, const std::vector<std::string>& args) {
  RunFlags run;
  FlagList options("Flags");
  run.add_reading_flags(options);
  const std::string line = benchmark.name + " score ";
  const auto files =
      parse_flags(args,
                  {line + "RESULTS.json ANNOTATIONS.json [flags]",
                   "COCO's average precision and recall of detections, of boxes, with its own "
                   "parameters: the numbers that pycocotools gives.",
                   2,
                   2,
                   "a file of results and one of annotations",
                   {line + "found.json DIR/annotations/instances_val2017.json"}},
                  options);
  if (!files) return kExitDone;
  Session session(run);
  const CocoSet set = datasets::read_coco(files->at(1));
  const datasets::CocoResults results = datasets::read_coco_results(files->at(0), set);
  nn::BoxEvaluation evaluation(set.category_ids());
  std::int64_t detections = 0;
  for (const auto& image : set.images) {
    const auto found = results.find(image.id);
    const std::vector<DetectedBox> none;
    const auto& boxes = found == results.end() ? none : found->second;
    detections += std::ssize(boxes);
    evaluation.add(image.id, image.boxes, boxes);
  }
  session.open_outputs();
  session.json() = {{"verb", "score"}, {"images", set.images.size()}, {"detections", detections}};
  session.text() << detections << " detections in " << set.images.size() << " pictures with "
                 << set.boxes() << " boxes\n";
  report(session, evaluation.metrics(), set);
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
