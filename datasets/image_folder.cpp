#include "datasets/image_folder.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fstream>
#include <limits>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/files/atomic_file.h"

namespace tessera::datasets {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLabels = "labels.txt";
constexpr const char* kSynsets = "synset_words.txt";
// A class number decides how long the list of classes is.
constexpr std::int32_t kMaxClasses = 1 << 20;

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_folder(const fs::path& path) {
  return file_exists(path) && fs::is_directory(path);
}

bool is_picture(const fs::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending == ".jpg" || ending == ".jpeg";
}

// Names of the entries that `wanted` accepts, sorted; hidden ones are left out.
template <class Wanted>
std::vector<std::string> names_in(const fs::path& dir, const Wanted& wanted) {
  std::error_code error;
  fs::directory_iterator at(dir, error);
  check(!error, "[images] ", dir.string(), ": cannot be listed: ", error.message());
  std::vector<std::string> out;
  for (; at != fs::directory_iterator(); at.increment(error)) {
    std::string name = at->path().filename().string();
    if (!name.starts_with('.') && wanted(*at)) out.push_back(std::move(name));
    if (error) break;
  }
  check(!error, "[images] ", dir.string(), ": cannot be listed: ", error.message());
  std::sort(out.begin(), out.end());
  return out;
}

bool picture_entry(const fs::directory_entry& entry) {
  std::error_code error;
  return is_picture(entry.path()) && entry.is_regular_file(error);
}

bool folder_entry(const fs::directory_entry& entry) {
  std::error_code error;
  return entry.is_directory(error);
}

// Calls use(line, place) for every line that is not blank, `place` for messages.
template <class Use>
void for_lines(const fs::path& file, const Use& use) {
  std::ifstream in(file);
  check(in.good(), "[images] ", file.string(), ": cannot be opened");
  std::string line;
  for (std::int64_t number = 1; std::getline(in, line); ++number) {
    const auto last = line.find_last_not_of(" \t\r");
    if (last == std::string::npos) continue;
    line.resize(last + 1);
    use(std::string_view(line), cat("[images] ", file.string(), ":", number, ": "));
  }
  check(!in.bad(), "[images] ", file.string(), ": cannot be read");
}

// Names seen so far.
using Places = std::unordered_map<std::string, std::int64_t>;

// Fills class_ids and class_words; false when there is no list of classes.
bool read_synsets(const fs::path& dir, ImageFiles& out) {
  const fs::path parent = fs::absolute(dir).lexically_normal().parent_path();
  const fs::path file = is_file(dir / kSynsets) ? dir / kSynsets : parent / kSynsets;
  if (!is_file(file)) return false;
  Places seen;
  for_lines(file, [&](std::string_view line, const std::string& place) {
    const auto space = std::min(line.find_first_of(" \t"), line.size());
    std::string id(line.substr(0, space));
    check(!id.empty(), place, "expected 'ID WORDS', found '", line, "'");
    check(seen.emplace(id, out.classes()).second, place, "class ", id, " is listed twice");
    const auto words = std::min(line.find_first_not_of(" \t", space), line.size());
    out.class_words.emplace_back(line.substr(words));
    out.class_ids.push_back(std::move(id));
  });
  check(out.classes() > 0, "[images] ", file.string(), ": expected lines 'ID WORDS', found none");
  return true;
}

void list_labels(const fs::path& dir, bool known_classes, ImageFiles& out) {
  const fs::path file = dir / kLabels;
  out.root = is_folder(dir / "images") ? dir / "images" : dir;
  const auto limit = known_classes ? static_cast<std::int32_t>(out.classes()) : kMaxClasses;
  Places seen;
  std::int32_t largest = -1;
  for_lines(file, [&](std::string_view line, const std::string& place) {
    const auto space = line.find_last_of(" \t");
    const auto name_end =
        space == std::string_view::npos ? space : line.find_last_not_of(" \t", space);
    std::int32_t label = -1;
    const char* end = line.data() + line.size();
    std::from_chars_result read{};
    if (name_end != std::string_view::npos)
      read = std::from_chars(line.data() + space + 1, end, label);
    const bool number = read.ptr == end && read.ec == std::errc();
    check(number, place, "expected 'PICTURE CLASS' with a class number, found '", line, "'");
    check(label >= 0 && label < limit, place, "expected a class from 0 to ", limit - 1, ", found ",
          label);
    std::string name(line.substr(0, name_end + 1));
    check(seen.emplace(name, 0).second, place, name, " is listed twice");
    check(is_file(out.root / name), place, "no such file: ", (out.root / name).string());
    out.files.push_back(std::move(name));
    out.labels.push_back(label);
    largest = std::max(largest, label);
  });
  check(out.size() > 0, "[images] ", file.string(), ": expected lines 'PICTURE CLASS', found none");
  if (!known_classes) {
    for (std::int32_t i = 0; i <= largest; ++i) out.class_ids.push_back(std::to_string(i));
  }
}

void list_folders(const fs::path& dir, std::vector<std::string> folders, bool known_classes,
                  ImageFiles& out) {
  out.root = dir;
  Places number;
  if (!known_classes) out.class_ids = folders;
  for (std::size_t i = 0; i < out.class_ids.size(); ++i)
    number.emplace(out.class_ids[i], static_cast<std::int64_t>(i));
  for (const std::string& folder : folders) {
    const auto found = number.find(folder);
    check(found != number.end(), "[images] ", (dir / folder).string(), ": class ", folder,
          " is not in ", kSynsets);
    const auto pictures = names_in(dir / folder, picture_entry);
    check(!pictures.empty(), "[images] ", (dir / folder).string(),
          ": expected pictures *.jpg or *.jpeg, found none");
    for (const std::string& picture : pictures) {
      out.files.push_back(folder + "/" + picture);
      out.labels.push_back(static_cast<std::int32_t>(found->second));
    }
  }
}

}  // namespace

ImageFiles image_files(const fs::path& dir) {
  check(is_folder(dir), "[images] ", dir.string(), ": no such folder");
  ImageFiles out;
  const fs::path full = fs::absolute(dir).lexically_normal();
  out.name = (full.has_filename() ? full : full.parent_path()).filename().string();
  const bool known_classes = read_synsets(dir, out);
  if (is_file(dir / kLabels)) {
    list_labels(dir, known_classes, out);
  } else {
    auto folders = names_in(dir, folder_entry);
    check(!folders.empty(), "[images] ", dir.string(), ": expected a folder for each class, or ",
          kLabels, "; found neither");
    list_folders(dir, std::move(folders), known_classes, out);
  }
  check(out.size() <= std::numeric_limits<std::int32_t>::max(), "[images] ", dir.string(),
        ": more than 2^31 pictures");
  return out;
}

ImageFiles unlabelled_images(const fs::path& dir) {
  ImageFiles out;
  out.name = dir.string();
  out.root = dir;
  out.class_ids = {"unlabelled"};
  std::error_code error;
  fs::recursive_directory_iterator at(dir, error), end;
  for (; !error && at != end; at.increment(error)) {
    if (picture_entry(*at)) out.files.push_back(at->path().lexically_relative(dir).string());
  }
  check(!error, "[images] ", dir.string(), ": cannot be listed: ", error.message());
  check(!out.files.empty(), "[images] ", dir.string(), ": no *.jpg or *.jpeg in it or below it");
  std::sort(out.files.begin(), out.files.end());
  out.labels.assign(out.files.size(), 0);
  return out;
}

ImageSplit imagenet(const fs::path& dir) {
  for (const char* part : {"train", "val"}) {
    check(is_folder(dir / part), "[imagenet] missing ", (dir / part).string(),
          ": expected train/ and val/ in '", dir.string(), "', each with a folder of *.JPEG for ",
          "each class, or labels.txt; give the folder with --data DIR or TESSERA_DATA=DIR");
  }
  ImageSplit out{image_files(dir / "train"), image_files(dir / "val")};
  const auto &a = out.train.class_ids, &b = out.val.class_ids;
  const auto differ = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  auto id = [](const auto& list, auto at) { return at == list.end() ? "nothing" : *at; };
  check(a == b, "[imagenet] ", dir.string(), ": train and val differ in their classes: class ",
        differ.first - a.begin(), " is ", id(a, differ.first), " in train and ",
        id(b, differ.second), " in val");
  return out;
}

ImageFiles imagenet_val(const fs::path& dir) {
  return image_files(is_folder(dir / "val") ? dir / "val" : dir);
}

}  // namespace tessera::datasets
