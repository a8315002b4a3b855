#include "datasets/coco.h"

#include <cmath>
#include <fstream>
#include <functional>
#include <optional>
#include <set>
#include <tuple>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "core/text.h"

namespace tessera::datasets {

namespace {

constexpr std::size_t kDeepest = 64;
constexpr std::size_t kLongestName = 4096;
constexpr double kMostPixels = 1e9;  // of coordinates and sides

// The numbers, texts and lists of numbers of one object of a list.
class Record {
 public:
  Record(const std::string& file, std::string list, std::int64_t place)
      : file_(file), list_(std::move(list)), place_(place) {}

  template <class... Args>
  [[noreturn]] void stop(const Args&... message) const {
    fail(file_, ": ", list_.empty() ? "entry " : list_ + " ", place_, ": ", message...);
  }
  void put(const std::string& field, double value) {
    constexpr std::size_t kMost = 16;
    auto& values = numbers_[field];
    if (values.size() == kMost) stop(quote(field), ": expected at most ", kMost, " numbers");
    values.push_back(value);
  }
  void put(const std::string& field, std::string value) { texts_[field] = std::move(value); }

  double number(const std::string& field, std::optional<double> otherwise = {}) const {
    const auto found = numbers_.find(field);
    if (found == numbers_.end()) {
      if (otherwise) return *otherwise;
      stop("expected a number as ", quote(field));
    }
    if (found->second.size() != 1) stop(quote(field), ": expected one number");
    if (!std::isfinite(found->second[0])) stop(quote(field), " is not finite");
    return found->second[0];
  }
  std::int64_t integer(const std::string& field, std::optional<double> otherwise = {}) const {
    constexpr double kExact = 9007199254740992;  // doubles are whole numbers up to 2^53
    const double value = number(field, otherwise);
    if (value != std::floor(value) || std::abs(value) > kExact)
      stop(quote(field), ": expected a whole number, got ", value);
    return static_cast<std::int64_t>(value);
  }
  const std::string& text(const std::string& field) const {
    const auto found = texts_.find(field);
    if (found == texts_.end()) stop("expected a text as ", quote(field));
    return found->second;
  }
  Box box() const {
    const auto found = numbers_.find("bbox");
    if (found == numbers_.end() || found->second.size() != 4)
      stop("'bbox': expected [x, y, width, height]");
    const auto& v = found->second;
    for (const double value : v) {
      if (!(std::abs(value) <= kMostPixels)) stop("'bbox': ", value, " is no place in an image");
    }
    if (v[2] < 0 || v[3] < 0) stop("'bbox': sides must not be negative, got ", v[2], " x ", v[3]);
    return {v[0], v[1], v[2], v[3]};
  }

 private:
  const std::string& file_;
  std::string list_;
  std::int64_t place_;
  std::map<std::string, std::vector<double>> numbers_;
  std::map<std::string, std::string> texts_;
};

// Walks a text of JSON and hands over the objects of its lists, one by one: of the lists that are
// fields of one outer object, or, of a text that is one list, of that, under the name "". Of an
// object it keeps the fields asked for: single values, and lists of at most a few numbers.
class Lists final : public nlohmann::json_sax<Json> {
 public:
  using Take = std::function<void(const std::string& list, const Record& record)>;
  Lists(std::string file, std::set<std::string> fields, Take take)
      : file_(std::move(file)), fields_(std::move(fields)), take_(std::move(take)) {}

  bool outermost_is_list() const { return outermost_is_list_; }
  bool null() override { return true; }
  bool boolean(bool value) override { return value_is(value ? 1 : 0); }
  bool number_integer(number_integer_t value) override {
    return value_is(static_cast<double>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return value_is(static_cast<double>(value));
  }
  bool number_float(number_float_t value, const string_t&) override { return value_is(value); }
  bool string(string_t& value) override {
    if (!record_ || depth() != record_depth_ || !fields_.contains(key_)) return true;
    if (value.size() > kLongestName)
      record_->stop(quote(key_), " has ", value.size(), " bytes, expected at most ", kLongestName);
    record_->put(key_, value);
    return true;
  }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    open(false);
    const std::size_t outer = is_list_[0] ? 2 : 3;
    if (depth() == outer && is_list_[outer - 2] && !record_) {
      record_.emplace(file_, outer == 2 ? "" : list_, place_[outer == 2 ? "" : list_]++);
      record_depth_ = outer;
    }
    return true;
  }
  bool end_object() override {
    if (record_ && depth() == record_depth_) {
      take_(record_depth_ == 2 ? "" : list_, *record_);
      record_.reset();
    }
    is_list_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override {
    open(true);
    return true;
  }
  bool end_array() override {
    is_list_.pop_back();
    return true;
  }
  bool key(string_t& name) override {
    if (depth() == 1) list_ = name;
    if (record_ && depth() == record_depth_) key_ = name;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    fail(file_, ": byte ", position, ": this is no JSON");
  }

 private:
  std::size_t depth() const { return is_list_.size(); }
  void open(bool list) {
    check(depth() < kDeepest, file_, ": more than ", kDeepest, " lists and objects in each other");
    if (depth() == 0) outermost_is_list_ = list;
    is_list_.push_back(list);
  }
  bool value_is(double value) {
    if (!record_ || !fields_.contains(key_)) return true;
    const bool single = depth() == record_depth_;
    const bool listed = depth() == record_depth_ + 1 && is_list_.back();
    if (single || listed) record_->put(key_, value);
    return true;
  }

  std::string file_;
  std::set<std::string> fields_;
  Take take_;
  std::vector<bool> is_list_;  // of what is open
  std::string list_, key_;
  std::map<std::string, std::int64_t> place_;
  std::optional<Record> record_;
  std::size_t record_depth_ = 0;
  bool outermost_is_list_ = false;
};

// Whether the text is one list.
bool walk(const std::filesystem::path& file, std::set<std::string> fields, Lists::Take take) {
  const InputFile regular(file);  // refuses what is none
  std::ifstream in(file, std::ios::binary);
  check(in.good(), file.string(), ": cannot be read");
  Lists lists(file.string(), std::move(fields), std::move(take));
  Json::sax_parse(in, &lists);
  return lists.outermost_is_list();
}

struct Annotation {
  std::int64_t image = 0;
  TrueBox box;
};

Annotation annotation_of(const Record& r) {
  Annotation out;
  out.image = r.integer("image_id");
  out.box.box = r.box();
  out.box.category = r.integer("category_id");
  out.box.area = r.number("area", out.box.box.area());
  if (out.box.area < 0) r.stop("'area' must not be negative, got ", out.box.area);
  out.box.crowd = r.number("iscrowd", 0) != 0;
  out.box.id = r.integer("id", 0);
  return out;
}

}  // namespace

std::vector<std::int64_t> CocoSet::category_ids() const {
  std::vector<std::int64_t> out;
  for (const CocoCategory& category : categories) out.push_back(category.id);
  return out;
}

std::int64_t CocoSet::boxes() const {
  std::int64_t out = 0;
  for (const CocoImage& image : images) out += std::ssize(image.boxes);
  return out;
}

CocoSet read_coco(const std::filesystem::path& file) {
  CocoSet out;
  out.name = file.string();
  std::map<std::int64_t, std::size_t> places;
  std::set<std::int64_t> categories, ids;
  std::vector<Annotation> annotations;
  walk(file,
       {"id", "file_name", "width", "height", "image_id", "category_id", "bbox", "area", "iscrowd",
        "name"},
       [&](const std::string& list, const Record& r) {
         if (list == "images") {
           CocoImage image{r.integer("id"),
                           r.text("file_name"),
                           r.integer("width", 0),
                           r.integer("height", 0),
                           {}};
           if (image.width < 0 || image.height < 0 ||
               static_cast<double>(std::max(image.width, image.height)) > kMostPixels) {
             r.stop("a picture of ", image.width, " x ", image.height, " pixels");
           }
           if (!places.emplace(image.id, out.images.size()).second)
             r.stop("the id ", image.id, " comes twice");
           out.images.push_back(std::move(image));
         } else if (list == "categories") {
           const std::int64_t id = r.integer("id");
           if (!categories.insert(id).second) r.stop("the id ", id, " comes twice");
           out.categories.push_back({id, r.text("name")});
         } else if (list == "annotations") {
           annotations.push_back(annotation_of(r));
           const std::int64_t id = annotations.back().box.id;
           if (id != 0 && !ids.insert(id).second) r.stop("the id ", id, " comes twice");
         }
       });
  check(!out.images.empty(), out.name, ": expected a list 'images', which there is not, or empty");
  check(!out.categories.empty(), out.name,
        ": expected a list 'categories', which there is not, or empty");
  for (std::size_t i = 0; i < annotations.size(); ++i) {
    const Annotation& a = annotations[i];
    const auto image = places.find(a.image);
    check(image != places.end(), out.name, ": annotations ", i, ": there is no image ", a.image);
    check(categories.contains(a.box.category), out.name, ": annotations ", i,
          ": there is no category ", a.box.category);
    out.images[image->second].boxes.push_back(a.box);
  }
  return out;
}

CocoResults read_coco_results(const std::filesystem::path& file, const CocoSet& set) {
  std::set<std::int64_t> images;
  for (const CocoImage& image : set.images) images.insert(image.id);
  CocoResults out;
  const bool list =
      walk(file, {"image_id", "category_id", "bbox", "score"},
           [&](const std::string& name, const Record& r) {
             if (!name.empty()) return;
             const std::int64_t image = r.integer("image_id");
             if (!images.contains(image)) r.stop(set.name, " has no image ", image);
             out[image].push_back({r.box(), r.integer("category_id"), r.number("score")});
           });
  check(list, file.string(),
        ": expected a list of detections with image_id, category_id, bbox and score");
  return out;
}

void write_coco_results(const std::filesystem::path& file, const CocoResults& results) {
  Json out = Json::array();
  for (const auto& [image, boxes] : results) {
    for (const DetectedBox& d : boxes) {
      out.push_back({{"image_id", image},
                     {"category_id", d.category},
                     {"bbox", {d.box.x, d.box.y, d.box.width, d.box.height}},
                     {"score", d.score}});
    }
  }
  write_file(file, json_text(out) + "\n");
}

}  // namespace tessera::datasets
