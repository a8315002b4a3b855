// COCO's files of annotations and of results: which boxes are in which image.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/boxes.h"

namespace tessera::datasets {

struct CocoImage {
  std::int64_t id = 0;
  std::string file;  // its name in the folder of images
  std::int64_t width = 0, height = 0;
  std::vector<TrueBox> boxes;  // in the order of the file
};

struct CocoCategory {
  std::int64_t id = 0;
  std::string name;
};

struct CocoSet {
  std::string name;                      // the file; used in messages
  std::vector<CocoImage> images;         // in the order of the file
  std::vector<CocoCategory> categories;  // likewise

  std::vector<std::int64_t> category_ids() const;
  std::int64_t boxes() const;
};

// Reads instances in COCO's format: the lists "images" (id, file_name, width, height),
// "annotations" (image_id, category_id, bbox [x, y, width, height]; id 0, area that of the box and
// iscrowd 0 where they are missing) and "categories" (id, name), each anywhere; what else is there
// is passed over. Reads as it goes: memory is what is kept, of outlines nothing. Throws Error,
// naming the file, the list and the place in it, for text that is no JSON or not UTF-8, what is
// missing, malformed or not finite, sides and areas below 0, ids that come twice, annotations of
// images or categories that are not there, and a file without images or categories.
CocoSet read_coco(const std::filesystem::path& file);

// Detections by image, in COCO's format of results: one list of objects with image_id,
// category_id, bbox and score. Throws Error as read_coco does, and for an image that `set` has not.
using CocoResults = std::map<std::int64_t, std::vector<DetectedBox>>;
CocoResults read_coco_results(const std::filesystem::path& file, const CocoSet& set);
// Writes them whole or not at all; throws Error where that cannot be.
void write_coco_results(const std::filesystem::path& file, const CocoResults& results);

}  // namespace tessera::datasets
