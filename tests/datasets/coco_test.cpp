#include "datasets/coco.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "tests/datasets/temp_dir.h"
#include "tests/error_of.h"
#include "tests/mutated.h"

namespace tessera::datasets {
namespace {

using tessera::testing::error_of;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

const char* const kSmall = R"({
  "info": {"images": [{"id": "no"}], "year": 2026},
  "annotations": [
    {"id": 11, "image_id": 2, "category_id": 5, "bbox": [1.5, 2, 30, 40], "area": 900.5,
     "iscrowd": 0, "segmentation": [[1, 2, 3, 4, 5, 6]], "extra": {"bbox": [9, 9, 9, 9], "id": 1}},
    {"image_id": 2, "category_id": 3, "bbox": [0, 0, 4, 5], "iscrowd": 1,
     "segmentation": {"counts": [1, 2], "size": [3, 4]}}],
  "categories": [{"id": 5, "name": "cat", "supercategory": "animal"}, {"id": 3, "name": "tree"}],
  "images": [{"id": 9, "file_name": "a.jpg", "width": 64, "height": 48},
             {"id": 2, "file_name": "b.jpg", "width": 640, "height": 480, "license": 3}]
})";

class Coco : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& text, const char* name = "set.json") {
    const auto path = dir_.path() / name;
    std::ofstream(path) << text;
    return path;
  }
  // The message behind the file's name.
  std::string error(const std::string& text) {
    const auto path = write(text);
    const std::string what = error_of([&] { read_coco(path); });
    EXPECT_TRUE(what.starts_with(path.string() + ": ")) << what;
    return what.substr(std::min(what.size(), path.string().size() + 2));
  }
  std::string changed(const std::string& from, const std::string& to) {
    std::string text = kSmall;
    const auto at = text.find(from);
    EXPECT_NE(at, text.npos) << from;
    return error(text.replace(at, from.size(), to));
  }

  TempDir dir_;
};

TEST_F(Coco, ListsInAnyOrderAndWhatElseThereIs) {
  const CocoSet set = read_coco(write(kSmall));
  ASSERT_EQ(set.images.size(), 2u);
  EXPECT_EQ(set.images[0].id, 9);
  EXPECT_TRUE(set.images[0].boxes.empty());
  EXPECT_EQ(set.images[1].file, "b.jpg");
  EXPECT_EQ(set.images[1].height, 480);
  ASSERT_EQ(set.images[1].boxes.size(), 2u);
  const TrueBox &cat = set.images[1].boxes[0], &tree = set.images[1].boxes[1];
  EXPECT_EQ(cat.box, (Box{1.5, 2, 30, 40}));
  EXPECT_EQ(cat.area, 900.5);
  EXPECT_EQ(cat.id, 11);
  EXPECT_FALSE(cat.crowd);
  EXPECT_TRUE(tree.crowd);
  EXPECT_EQ(tree.area, 20);  // of its box, where none is given
  EXPECT_EQ(tree.id, 0);
  EXPECT_THAT(set.category_ids(), ElementsAre(5, 3));
  EXPECT_EQ(set.categories[1].name, "tree");
  EXPECT_EQ(set.boxes(), 2);
}

TEST_F(Coco, SaysWhatIsWrongAndWhere) {
  EXPECT_EQ(changed("\"bbox\": [1.5, 2, 30, 40]", "\"bbox\": [1.5, 2, 30]"),
            "annotations 0: 'bbox': expected [x, y, width, height]");
  EXPECT_EQ(changed("[0, 0, 4, 5]", "[0, 0, -4, 5]"),
            "annotations 1: 'bbox': sides must not be negative, got -4 x 5");
  EXPECT_THAT(changed("[0, 0, 4, 5]", "[0, 1e300, 4, 5]"), HasSubstr("no place in an image"));
  EXPECT_EQ(changed("\"area\": 900.5", "\"area\": -1"),
            "annotations 0: 'area' must not be negative, got -1");
  EXPECT_EQ(changed("\"image_id\": 2, \"category_id\": 3", "\"image_id\": 4, \"category_id\": 3"),
            "annotations 1: there is no image 4");
  EXPECT_EQ(changed("\"category_id\": 3", "\"category_id\": 4"),
            "annotations 1: there is no category 4");
  EXPECT_EQ(changed("\"category_id\": 3", "\"category_id\": 3.5"),
            "annotations 1: 'category_id': expected a whole number, got 3.5");
  EXPECT_EQ(changed("\"image_id\": 2, \"category_id\": 3", "\"category_id\": 3"),
            "annotations 1: expected a number as 'image_id'");
  EXPECT_EQ(changed("{\"id\": 3, \"name\"", "{\"id\": 5, \"name\""),
            "categories 1: the id 5 comes twice");
  EXPECT_EQ(changed("{\"id\": 9, ", "{\"id\": 2, "), "images 1: the id 2 comes twice");
  EXPECT_EQ(changed("\"file_name\": \"a.jpg\"", "\"file_name\": 7"),
            "images 0: expected a text as 'file_name'");
  EXPECT_EQ(changed("\"id\": 9", "\"id\": 9, \"id\": 8"), "images 0: 'id': expected one number");
  EXPECT_THAT(changed("\"images\": [{\"id\": 9", "\"pictures\": [{\"id\": 9"),
              HasSubstr("expected a list 'images'"));
  EXPECT_THAT(error(std::string(kSmall).substr(0, 300)), HasSubstr("this is no JSON"));
  EXPECT_THAT(error(std::string(kSmall) + "}"), HasSubstr("this is no JSON"));
  EXPECT_THAT(error(""), HasSubstr("byte 1: this is no JSON"));
  EXPECT_THAT(error("{\"a\": \"\xff\"}"), HasSubstr("this is no JSON"));
  EXPECT_THAT(error(std::string(100, '[')), HasSubstr("more than 64 lists"));
  std::string many = "{\"images\": [{\"id\": [1";
  for (int n = 0; n < 20; ++n) many += ",1";
  EXPECT_EQ(error(many + "]}]}"), "images 0: 'id': expected at most 16 numbers");
  EXPECT_THAT(error_of([&] { read_coco(dir_.path()); }), HasSubstr("directory"));
  EXPECT_THAT(error_of([&] { read_coco("/dev/zero"); }), HasSubstr("/dev/zero"));
}

TEST_F(Coco, ResultsGoOutAndComeBack) {
  const CocoSet set = read_coco(write(kSmall));
  const CocoResults results = {{2, {{{1.25, 2, 3, 4}, 5, 0.5}, {{0, 0, 0, 0}, 77, 1e-3}}},
                               {9, {{{-3, 2, 1e6, 4}, 3, 0.125}}}};
  const auto path = dir_.path() / "results.json";
  write_coco_results(path, results);
  const CocoResults again = read_coco_results(path, set);
  ASSERT_EQ(again.size(), 2u);
  ASSERT_EQ(again.at(2).size(), 2u);
  for (const auto& [image, boxes] : results) {
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      EXPECT_EQ(again.at(image)[i].box, boxes[i].box);
      EXPECT_EQ(again.at(image)[i].category, boxes[i].category);
      EXPECT_EQ(again.at(image)[i].score, boxes[i].score);
    }
  }
  EXPECT_TRUE(read_coco_results(write("[]", "none.json"), set).empty());  // nothing was found
  const auto error = [&](const std::string& text) {
    const auto file = write(text, "bad.json");
    return error_of([&] { read_coco_results(file, set); });
  };
  EXPECT_THAT(error("{}"), EndsWith("expected a list of detections with image_id, category_id, "
                                    "bbox and score"));
  EXPECT_THAT(error(R"([{"image_id": 5, "category_id": 1, "bbox": [1,2,3,4], "score": 1}])"),
              HasSubstr("entry 0: " + set.name + " has no image 5"));
  EXPECT_THAT(error(R"([{"image_id": 2, "category_id": 1, "bbox": [1,2,3,4]}])"),
              EndsWith("entry 0: expected a number as 'score'"));
}

// Whatever was done to a file: a set that can be evaluated, or a line that names the file.
TEST_F(Coco, MutatedFilesAreReadOrRefused) {
  const auto path = write(kSmall);
  const int sets = testing::read_mutated(kSmall, 4000, 1, [&](const std::string& text) {
    testing::write_anew(path, text);
    const CocoSet set = read_coco(path);
    EXPECT_FALSE(set.images.empty());
    for (const CocoImage& image : set.images) {
      for (const TrueBox& box : image.boxes) {
        EXPECT_TRUE(std::isfinite(box.box.area()) && box.area >= 0) << text;
        EXPECT_TRUE(std::ranges::count(set.category_ids(), box.category) == 1) << text;
      }
    }
  });
  EXPECT_GT(sets, 100);
  EXPECT_LT(sets, 3000);
  const CocoSet set = read_coco(write(kSmall));
  constexpr std::string_view kResults =
      R"([{"image_id": 2, "category_id": 5, "bbox": [1.5, 2, 30, 40], "score": 0.5},
          {"image_id": 9, "category_id": 3, "bbox": [0, 0, 4, 5], "score": 1e-3}])";
  const auto results = dir_.path() / "results.json";
  const int read = testing::read_mutated(kResults, 3000, 2, [&](const std::string& text) {
    testing::write_anew(results, text);
    for (const auto& [image, boxes] : read_coco_results(results, set)) {
      EXPECT_TRUE(image == 2 || image == 9);
      for (const DetectedBox& box : boxes)
        EXPECT_TRUE(std::isfinite(box.score) && std::isfinite(box.box.area())) << text;
    }
  });
  EXPECT_GT(read, 100);
  EXPECT_LT(read, 2500);
}

}  // namespace
}  // namespace tessera::datasets
