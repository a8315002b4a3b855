// Lists of picture files with their classes, as ImageNet and sets like it are kept on disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tessera::datasets {

// A list, nothing decoded; file i is root / files[i], of class labels[i].
struct ImageFiles {
  std::string name;  // used in messages
  std::filesystem::path root = {};
  std::vector<std::string> files = {};
  std::vector<std::int32_t> labels = {};      // each in [0, class_ids.size())
  std::vector<std::string> class_ids = {};    // "n01440764"
  std::vector<std::string> class_words = {};  // "tench, Tinca tinca"; empty where none are known

  std::int64_t size() const { return static_cast<std::int64_t>(files.size()); }
  std::int64_t classes() const { return static_cast<std::int64_t>(class_ids.size()); }
  std::filesystem::path path(std::int64_t i) const {
    return root / files[static_cast<std::size_t>(i)];
  }
};

// Lists `dir`, which has one of two layouts:
//   CLASS/PICTURE        a folder per class, pictures named *.jpg or *.jpeg in any case; classes
//   are
//                        numbered in the order of their names
//   labels.txt           lines "PICTURE CLASS" with CLASS a number from 0 on; pictures lie in
//                        images/ or beside the file
// A file synset_words.txt ("ID WORDS" per line, class 0 first) in `dir` or its parent gives all
// classes and their order; so a part of a set keeps its numbers. Pictures come class by class and
// in the order of names, or in the order of labels.txt. Throws Error naming file and line when
// something is missing, malformed, out of range or listed twice, when a class has no picture, or
// when there are none at all.
ImageFiles image_files(const std::filesystem::path& dir);

struct ImageSplit {
  ImageFiles train, val;
};

// dir/train and dir/val, each as above, of the same classes; otherwise Error.
ImageSplit imagenet(const std::filesystem::path& dir);
// For evaluation: dir/val where there is one, otherwise dir itself.
ImageFiles imagenet_val(const std::filesystem::path& dir);

// Pictures without labels: every *.jpg and *.jpeg in `dir` and the folders below it, in the order
// of their paths, all of class 0. Throws Error when there is none.
ImageFiles unlabelled_images(const std::filesystem::path& dir);

}  // namespace tessera::datasets
