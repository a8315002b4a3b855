#include "datasets/cifar.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "core/files/atomic_file.h"
#include "core/parallel.h"
#include "datasets/byte_reader.h"

namespace tessera::datasets {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPixels = 3 * 32 * 32;
constexpr std::int64_t kFewTest = 1000;
const std::string kTestBatch = "test_batch.bin", kFewTestBatch = "test_batch_first1000.bin";

// Where the files of a set may be, and what to say when they are not.
class Folder {
 public:
  Folder(std::string set, const fs::path& dir, const fs::path& below, const char* sign)
      : set_(std::move(set)), dir_(dir), below_(below), at_(dir) {
    for (const fs::path& folder : {dir, dir / below, dir / set_ / below, dir / set_}) {
      if (at_ = folder; has(sign)) return;
    }
    at_ = dir;
  }

  bool has(const std::string& file) const { return !find(file).empty(); }
  // Throws Error naming what is missing.
  std::vector<fs::path> require(const std::vector<std::string>& files) const {
    std::string missing;
    std::vector<fs::path> out;
    for (const std::string& file : files) {
      out.push_back(find(file));
      if (out.back().empty()) missing += (missing.empty() ? "" : ", ") + file;
    }
    check(missing.empty(), "[", set_, "] missing ", missing, " (plain or with .gz or .xz) in '",
          at_.string(), "': expected the binary version of the set in '", dir_.string(), "', '",
          (dir_ / below_).string(), "' or '", (dir_ / set_ / below_).string(),
          "'; give the folder with --data DIR or TESSERA_DATA=DIR");
    return out;
  }

 private:
  fs::path find(const std::string& file) const {
    for (const char* ending : {"", ".gz", ".xz"}) {
      fs::path path = at_ / (file + ending);
      if (file_exists(path) && fs::is_regular_file(path)) return path;
    }
    return {};
  }

  std::string set_;
  fs::path dir_, below_, at_;
};

struct Part {
  std::string file;
  std::int64_t records;      // in the file
  std::int64_t first_of_it;  // how many of them, from the first
};

// The files of both sets are read side by side: unpacking takes longer than anything after it.
Split read(const std::string& set, const Folder& folder, const CifarRecord& record,
           const std::vector<Part>& train, const std::vector<Part>& test) {
  struct Job {
    fs::path path;
    Tensor images, labels;
  };
  std::vector<std::string> names;
  for (const auto* parts : {&train, &test}) {
    for (const Part& part : *parts) names.push_back(part.file);
  }
  const std::vector<fs::path> paths = folder.require(names);
  std::vector<Job> jobs;
  auto dataset = [&](const char* name, const std::vector<Part>& parts) {
    std::int64_t capacity = 0, used = 0;
    for (const Part& part : parts) {
      used = capacity + part.first_of_it;
      capacity += part.records;
    }
    const Tensor images(DType::u8, {capacity, 3, 32, 32}), labels(DType::s32, {capacity});
    std::int64_t at = 0;
    for (const Part& part : parts) {
      jobs.push_back({paths[jobs.size()], images.slice(at, at + part.records),
                      labels.slice(at, at + part.records)});
      at += part.records;
    }
    return Dataset{cat(set, "/", name), images.slice(0, used), labels.slice(0, used),
                   record.classes.back()};
  };
  Split out{dataset("train", train), dataset("test", test)};
  parallel_parts(static_cast<std::int64_t>(jobs.size()), [&](std::int64_t i) {
    Job& job = jobs[static_cast<std::size_t>(i)];
    read_cifar(job.path, record, job.images, job.labels);
  });
  return out;
}

std::vector<int> checked_batches(const char* what, std::vector<int> batches) {
  for (const int batch : batches) {
    check(batch >= 1 && batch <= 5, "[cifar10] ", what, ": expected training batches 1 to 5, got ",
          batch);
  }
  std::sort(batches.begin(), batches.end());
  check(std::adjacent_find(batches.begin(), batches.end()) == batches.end(), "[cifar10] ", what,
        ": a training batch is named twice");
  return batches;
}

struct Cifar10Files {
  std::vector<int> train, test;  // training batches
  std::int64_t test_images = kCifarTest;
  bool whole_test_batch = true;  // else the file of the first thousand

  bool as_published() const { return train.size() == 5 && test_images == kCifarTest; }
  std::string train_text() const { return "batches " + list(train); }
  std::string test_text() const {
    std::string out;
    if (!test.empty()) out = (test.size() == 1 ? "batch " : "batches ") + list(test);
    if (!test.empty() && test_images > 0) out += " and ";
    if (test_images == kCifarTest) out += "all test images";
    if (test_images == kFewTest) out += "the first 1000 test images";
    return out;
  }

 private:
  static std::string list(const std::vector<int>& numbers) {
    std::string out;
    for (const int n : numbers) out += (out.empty() ? "" : ",") + std::to_string(n);
    return out;
  }
};

Cifar10Files choose(const Cifar10& options, const Folder& folder) {
  const bool by_hand = !options.train.empty() || !options.test.empty() || options.test_images != -1;
  check(!options.holdout || !by_hand,
        "[cifar10] holdout fixes what trains and what tests; expected no train, test or "
        "test_images beside it");
  check(options.test_images == -1 || options.test_images == 0 || options.test_images == kFewTest ||
            options.test_images == kCifarTest,
        "[cifar10] expected 0, 1000 or 10000 test images, got ", options.test_images);
  Cifar10Files out;
  const bool whole = folder.has(kTestBatch), few = folder.has(kFewTestBatch);
  if (options.holdout || (!by_hand && !whole && few)) {
    out = {{1, 2, 3, 4}, {5}, kFewTest};
  } else {
    out.train = checked_batches("train", options.train);
    out.test = checked_batches("test", options.test);
    if (options.test_images != -1) {
      out.test_images = options.test_images;
    } else if (!whole && (few || !out.test.empty())) {
      out.test_images = few ? kFewTest : 0;
    }
    for (int batch = 1; batch <= 5 && options.train.empty(); ++batch) {
      if (!std::count(out.test.begin(), out.test.end(), batch)) out.train.push_back(batch);
    }
  }
  out.whole_test_batch = out.test_images == kCifarTest || !few;
  check(!out.train.empty() && (!out.test.empty() || out.test_images > 0),
        "[cifar10] expected at least one batch to train on and something to test on");
  for (const int batch : out.train) {
    check(!std::count(out.test.begin(), out.test.end(), batch), "[cifar10] training batch ", batch,
          " would both train and test");
  }
  return out;
}

std::vector<Part> train_parts(const std::vector<int>& batches) {
  std::vector<Part> out;
  for (const int batch : batches) {
    out.push_back({cat("data_batch_", batch, ".bin"), kCifarTrainBatch, kCifarTrainBatch});
  }
  return out;
}

}  // namespace

void read_cifar(const fs::path& path, const CifarRecord& record, Tensor images, Tensor labels) {
  const std::int64_t n = labels.numel(), width = record.bytes(), total = n * width;
  const auto kinds = static_cast<std::int64_t>(record.classes.size());
  TESSERA_ASSERT(images.numel() == n * kPixels);
  ByteReader in("cifar", path);
  const std::string expected =
      cat("expected ", n, " records of ", width, " bytes = ", total, " bytes");
  check(in.packed() || in.file_bytes() == total, in.where(), ": found ", in.file_bytes() / width,
        " records and ", in.file_bytes() % width, " bytes more, ", expected);
  auto* image = images.span<std::uint8_t>().data();
  const auto label = labels.span<std::int32_t>();
  std::vector<char> chunk(static_cast<std::size_t>(64 * width));
  for (std::int64_t first = 0; first < n; first += 64) {
    const std::int64_t count = std::min<std::int64_t>(64, n - first);
    const std::int64_t got = in.read(chunk.data(), count * width);
    check(got == count * width, in.where(), ": truncated after record ", first + got / width,
          " and ", got % width, " bytes more, ", expected);
    for (std::int64_t i = 0; i < count; ++i) {
      const char* bytes = chunk.data() + i * width;
      for (std::int64_t k = 0; k < kinds; ++k) {
        const int value = static_cast<unsigned char>(bytes[k]);
        const int classes = record.classes[static_cast<std::size_t>(k)];
        check(value < classes, in.where(), ": record ", first + i, " (byte ",
              (first + i) * width + k, "): label ", value, ", expected 0 to ", classes - 1);
        label[static_cast<std::size_t>(first + i)] = value;
      }
      std::memcpy(image + (first + i) * kPixels, bytes + kinds, kPixels);
    }
  }
  // Also makes a packed file verify its checksum, which it does at the end only.
  char extra = 0;
  check(in.read(&extra, 1) == 0, in.where(), ": too long, ", expected, " and found more");
}

Tensor cifar_images(const fs::path& dir, const CifarRecord& record) {
  constexpr std::size_t kMostBytes = std::size_t{1} << 32;
  const std::int64_t width = record.bytes(), labels = width - kPixels;
  std::vector<char> images, chunk(static_cast<std::size_t>(64 * width));
  for (const fs::path& file : files_in(dir, ".bin")) {
    ByteReader in("cifar", file);
    while (true) {
      const std::int64_t got = in.read(chunk.data(), std::ssize(chunk));
      check(got % width == 0, in.where(), ": ends inside a record of ", width, " bytes");
      check(images.size() < kMostBytes, in.where(), ": more images than ", kMostBytes / kPixels);
      for (std::int64_t at = 0; at < got; at += width)
        images.insert(images.end(), chunk.begin() + at + labels, chunk.begin() + at + width);
      if (got < std::ssize(chunk)) break;
    }
  }
  check(!images.empty(), "[cifar] ", dir.string(), ": expected files *.bin of records of ", width,
        " bytes");
  Tensor out(DType::u8, {std::ssize(images) / kPixels, 3, 32, 32});
  std::memcpy(out.data(), images.data(), images.size());
  return out;
}

Split cifar10(const fs::path& dir, const Cifar10& options) {
  const Folder folder("cifar10", dir, "cifar-10-batches-bin", "data_batch_1.bin");
  const Cifar10Files files = choose(options, folder);
  std::vector<Part> test = train_parts(files.test);
  if (files.test_images > 0) {
    test.push_back(files.whole_test_batch ? Part{kTestBatch, kCifarTest, files.test_images}
                                          : Part{kFewTestBatch, kFewTest, files.test_images});
  }
  Split out = read("cifar10", folder, {{10}}, train_parts(files.train), test);
  if (!files.as_published()) {
    out.train.name += " (" + files.train_text() + ")";
    out.test.name += " (" + files.test_text() + ")";
  }
  return out;
}

Split cifar100(const fs::path& dir) {
  const Folder folder("cifar100", dir, "cifar-100-binary", "train.bin");
  return read("cifar100", folder, {{20, 100}},
              {{"train.bin", 5 * kCifarTrainBatch, 5 * kCifarTrainBatch}},
              {{"test.bin", kCifarTest, kCifarTest}});
}

}  // namespace tessera::datasets
