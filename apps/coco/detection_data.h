// Pictures with boxes as the application coco offers them: COCO's own layout, or the built-in set.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "apps/cli/benchmark.h"
#include "datasets/detection_batches.h"

namespace tessera::apps {

inline constexpr const char* kDetectionDataHelp =
    "folder with annotations/instances_train2017.json and instances_val2017.json (or 2014, or no "
    "year) beside the folders train2017 and val2017 of pictures; or with instances.json beside "
    "images, which then train and are measured alike; synthetic[:TRAIN[:TEST]]: built-in pictures "
    "(default: TESSERA_DATA, or the built-in pictures)";

// --fit, --preprocess.
std::vector<Choice> detection_choices();
// Benchmark::data.
Data detection_data(const DataRequest& request);

// A set and its pictures, and how a network wants to see them.
struct DetectionSet {
  std::shared_ptr<const datasets::CocoSet> set;
  datasets::ReadPicture read;
};
// What is measured, of the data that a request names.
DetectionSet test_pictures(const DataRequest& request);
datasets::DetectionBatchOptions sample_options(const DataRequest& request);

// Categories as a model's setting "categories" keeps them, "1 person, 2 bicycle", and back. Throws
// Error, naming the file, for text that is none.
std::string categories_text(const datasets::CocoSet& set);
std::vector<datasets::CocoCategory> parse_categories(const std::string& text,
                                                     const std::string& file);

}  // namespace tessera::apps
