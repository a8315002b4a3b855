#include "datasets/mnist.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/files/atomic_file.h"
#include "datasets/byte_reader.h"
#include "datasets/idx.h"

namespace tessera::datasets {
namespace {

namespace fs = std::filesystem;

constexpr int kSide = 28;
constexpr int kClasses = 10;
// Bounds what a header can make us allocate: 16 times the real training images.
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 30;

// Both spellings of a file: "train-images-idx3-ubyte" and "train-images.idx3-ubyte".
struct FileName {
  const char* stem;
  const char* suffix;
};
constexpr std::array<FileName, 4> kFiles = {
    FileName{"train-images", "idx3-ubyte"}, FileName{"train-labels", "idx1-ubyte"},
    FileName{"t10k-images", "idx3-ubyte"}, FileName{"t10k-labels", "idx1-ubyte"}};

std::string usual_name(const FileName& file) {
  return cat(file.stem, "-", file.suffix);
}

// Empty when there is none. Throws Error where the system cannot tell.
fs::path find(const fs::path& dir, const FileName& file) {
  for (const char* separator : {"-", "."}) {
    for (const char* ending : {"", ".gz"}) {
      fs::path path = dir / cat(file.stem, separator, file.suffix, ending);
      if (file_exists(path) && fs::is_regular_file(path)) return path;
    }
  }
  return {};
}

// The files kFiles[first] and on; the others stay empty.
std::array<fs::path, 4> find_all(const fs::path& dir, std::size_t first) {
  std::array<fs::path, 4> nearest{};
  std::int64_t most = -1;
  for (const fs::path& folder : {dir, dir / "mnist"}) {
    std::array<fs::path, 4> paths;
    for (std::size_t i = first; i < kFiles.size(); ++i) paths[i] = find(folder, kFiles[i]);
    const auto found =
        std::count_if(paths.begin(), paths.end(), [](const fs::path& p) { return !p.empty(); });
    if (found > most) {
      most = found;
      nearest = paths;
    }
  }
  std::string missing, all;
  for (std::size_t i = first; i < kFiles.size(); ++i) {
    const std::string name = usual_name(kFiles[i]);
    all += (all.empty() ? "" : ", ") + name;
    if (nearest[i].empty()) missing += (missing.empty() ? "" : ", ") + name;
  }
  check(missing.empty(), "[mnist] missing ", missing, ": expected ", all,
        " (each plain or with .gz) in '", dir.string(), "' or '", (dir / "mnist").string(),
        "'; give the folder with --data DIR or TESSERA_DATA=DIR");
  return nearest;
}

Tensor read_images(const fs::path& path) {
  Tensor images = read_idx(path, kMaxBytes);
  const Shape& shape = images.shape();
  check(shape.rank() == 3 && shape[1] == Dim(kSide) && shape[2] == Dim(kSide), "[mnist] ",
        path.string(), ": found ", images.text_type(), ", expected images u8[n,28,28]");
  return images;
}

Tensor read_labels(const fs::path& path) {
  const Tensor bytes = read_idx(path, kMaxBytes);
  check(bytes.shape().rank() == 1, "[mnist] ", path.string(), ": found ", bytes.text_type(),
        ", expected labels u8[n]");
  const auto values = bytes.span<std::uint8_t>();
  const auto bad =
      std::find_if(values.begin(), values.end(), [](std::uint8_t v) { return v >= kClasses; });
  check(bad == values.end(), "[mnist] ", path.string(), ": label ", bad - values.begin(), " is ",
        bad == values.end() ? 0 : int{*bad}, ", expected 0 to 9");
  return bytes.to(DType::s32);
}

Dataset read(const char* name, const fs::path& images, const fs::path& labels) {
  Dataset out{name, read_images(images), read_labels(labels), kClasses};
  const std::int64_t n = out.images.shape()[0].value();
  check(n == out.size(), "[mnist] ", images.string(), " holds ", n, " images, but ",
        labels.string(), " holds ", out.size(), " labels; expected as many");
  return out;
}

}  // namespace

Split mnist(const fs::path& dir) {
  const auto paths = find_all(dir, 0);
  return {read("mnist/train", paths[0], paths[1]), read("mnist/test", paths[2], paths[3])};
}

Dataset mnist_test(const fs::path& dir) {
  const auto paths = find_all(dir, 2);
  return read("mnist/test", paths[2], paths[3]);
}

Tensor mnist_images(const fs::path& dir) {
  std::vector<Tensor> parts;
  std::int64_t n = 0;
  for (const fs::path& file : files_in(dir, "idx3-ubyte")) {
    parts.push_back(read_images(file));
    n += parts.back().shape()[0].value();
  }
  check(n > 0, "[mnist] ", dir.string(), ": expected files of images, such as images-idx3-ubyte");
  Tensor out(DType::u8, {n, kSide, kSide});
  std::int64_t first = 0;
  for (const Tensor& part : parts) {
    const std::int64_t count = part.shape()[0].value();
    out.slice(first, first + count).copy_from<std::uint8_t>(part.span<std::uint8_t>());
    first += count;
  }
  return out;
}

}  // namespace tessera::datasets
