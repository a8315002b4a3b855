// CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
// 2009) in their binary version: records of label bytes and 3072 bytes of image, no header.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "datasets/dataset.h"

namespace tessera::datasets {

inline constexpr std::int64_t kCifarTrainBatch = 10000;  // records of data_batch_1 .. 5
inline constexpr std::int64_t kCifarTest = 10000;

struct Cifar10 {
  // Measures on images that no training has seen without the whole test batch: training batches 1
  // to 4 train, batch 5 and the first 1000 test images test (11,000). Without any option this is
  // also what happens where the whole test batch is not there; the names of the sets tell.
  bool holdout = false;
  // By hand instead: the training batches (1 to 5) that train, by default those not in `test`, and
  // those that test, ahead of the test images.
  std::vector<int> train = {}, test = {};
  // How many of the test batch, from its first: 0, 1000 or 10000. By default as many as there are.
  std::int64_t test_images = -1;
};

// Reads data_batch_1.bin .. data_batch_5.bin (those needed) and test_batch.bin or its first
// thousand records, test_batch_first1000.bin, each plain, .gz or .xz, from `dir` or a
// cifar-10-batches-bin or cifar10/cifar-10-batches-bin below it. Images u8 [n, 3, 32, 32] (planes
// of red, green, blue), labels s32 [n]. Throws Error for options that contradict each other, when a
// file is missing (saying what is expected where), has another number of records, ends inside one,
// is damaged, or has a label above 9 (naming record and byte).
Split cifar10(const std::filesystem::path& dir, const Cifar10& options = {});

// Reads train.bin (50,000 records of coarse label, fine label, image) and test.bin (10,000) from
// `dir` or a cifar-100-binary or cifar100/cifar-100-binary below it; the labels are the fine ones,
// 0 to 99. Otherwise as cifar10.
Split cifar100(const std::filesystem::path& dir);

// What the labels of a record are; the last is the one to learn.
struct CifarRecord {
  std::vector<int> classes;  // {10} or {20, 100}
  std::int64_t bytes() const { return static_cast<std::int64_t>(classes.size()) + 3 * 32 * 32; }
};

// One file into images (u8 [n, 3, 32, 32]) and labels (s32 [n]); n is the number of records that
// the file must have.
void read_cifar(const std::filesystem::path& path, const CifarRecord& record, Tensor images,
                Tensor labels);

// Images without labels, u8 [n, 3, 32, 32]: the records of every file in `dir` with ".bin" in its
// name, in the order of names, plain, .gz or .xz; their labels are not looked at. Throws Error when
// there is none, or one ends inside a record.
Tensor cifar_images(const std::filesystem::path& dir, const CifarRecord& record);

}  // namespace tessera::datasets
