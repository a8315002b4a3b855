// Random codebook matrices for tests of kernels, with their planes in exactly sized heap blocks.
#pragma once

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/cpu.h"
#include "ops/codebook/decode.h"

namespace tessera::test {

struct Aligned {
  explicit Aligned(size_t bytes) : memory(bytes + 64) {}
  void* data() {
    void* p = memory.data();
    size_t space = memory.size();
    return std::align(64, memory.size() - 64, p, space);
  }
  std::vector<char> memory;
};

struct Spec {
  int bits = 4;
  int64_t rows = 0, cols = 0;
  int vector_len = 1;
  int64_t group_rows = 0, block = 0;
  EntryDtype dtype = EntryDtype::kF32;
};

// A random matrix with its planes in exactly sized heap blocks, and its decoded value.
struct Matrix {
  explicit Matrix(const Spec& s) {
    view.bits = s.bits;
    view.rows = s.rows;
    view.cols = s.cols;
    view.vector_len = s.vector_len;
    view.group_rows = s.group_rows;
    view.block = s.block;
    view.entry_dtype = s.dtype;
    std::mt19937 rng(static_cast<unsigned>(11 * s.bits + s.rows + 131 * s.cols));
    view.k = s.bits > 1 ? (1 << s.bits) - static_cast<int>(rng() % 2) : 2;
    index.resize(codebook_indices(view));
    for (uint8_t& i : index) i = static_cast<uint8_t>(rng() % view.k);
    packed.reset(new uint8_t[codebook_index_bytes(view)]);
    pack_indices(index.data(), codebook_indices(view), s.bits, packed.get());
    const int64_t n = codebook_groups(view) * view.k * s.vector_len;
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    for (int64_t i = 0; i < n; ++i) {
      float value = uniform(rng);
      uint32_t word;
      std::memcpy(&word, &value, 4);
      if (s.dtype == EntryDtype::kBf16) {
        word &= 0xffff0000u;
        bf16.push_back(static_cast<uint16_t>(word >> 16));
        std::memcpy(&value, &word, 4);
      } else if (s.dtype == EntryDtype::kS8) {
        s8.push_back(static_cast<int8_t>(static_cast<int>(rng() % 256) - 128));
        value = s8.back();
      }
      entries.push_back(value);
    }
    for (int64_t i = 0; i < s.rows * codebook_blocks(view); ++i) scale.push_back(uniform(rng));
    view.indices = packed.get();
    view.scale = scale.data();
    view.entries = s.dtype == EntryDtype::kBf16 ? static_cast<const void*>(bf16.data())
                   : s.dtype == EntryDtype::kS8 ? static_cast<const void*>(s8.data())
                                                : entries.data();
    for (int64_t r = 0; r < s.rows; ++r)
      for (int64_t c = 0; c < s.cols; ++c) {
        const float entry = entries[entry_at(r, c)];
        dense.push_back(s.block ? entry * scale[scale_at(r, c)] : entry);
      }
  }
  int64_t entry_at(int64_t r, int64_t c) const {
    const int64_t d = view.vector_len, i = (r * view.cols + c) / d;
    return (codebook_group(view, r) * view.k + index[i]) * d + c % d;
  }
  int64_t scale_at(int64_t r, int64_t c) const {
    return r * codebook_blocks(view) + c / view.block;
  }

  CodebookView view;
  std::vector<uint8_t> index;
  std::unique_ptr<uint8_t[]> packed;
  std::vector<float> entries, scale, dense;
  std::vector<uint16_t> bf16;
  std::vector<int8_t> s8;
};

inline std::string name(const Spec& s, CpuFeatures f) {
  return std::to_string(s.rows) + "x" + std::to_string(s.cols) + " bits " + std::to_string(s.bits) +
         " v" + std::to_string(s.vector_len) + " g" + std::to_string(s.group_rows) + " s" +
         std::to_string(s.block) + " on " + text(f);
}

}  // namespace tessera::test
