#include "ops/codebook/decode.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"

namespace tessera {
namespace {

#include "ops/codebook/decode_tail-inl.h"

constexpr size_t align64(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

int64_t table_floats(const CodebookView& v) {
  return std::max<int64_t>(16, (int64_t{1} << v.bits) * v.vector_len);
}
size_t planes_offset(const CodebookView& v) {
  return align64(sizeof(float) * table_floats(v));
}
bool has_planes(const CodebookView& v) {
  return v.bits >= 6 && v.vector_len == 1;
}

void fill_table(const CodebookView& v, int64_t group, char* memory) {
  auto* values = reinterpret_cast<float*>(memory);
  const int64_t used = int64_t{v.k} * v.vector_len, all = (int64_t{1} << v.bits) * v.vector_len;
  convert_entries(v.entries, v.entry_dtype, group * used, used, values);
  std::fill(values + used, values + all, 0.0f);
  for (int64_t i = all; i < table_floats(v); ++i) values[i] = values[i - all];
  if (!has_planes(v)) return;
  char* planes = memory + planes_offset(v);
  for (int64_t i = 0; i < all; ++i)
    for (int b = 0; b < 4; ++b) planes[b * all + i] = memory[4 * i + b];
}

DecodeTable table_of(const CodebookDecoder& d, int64_t row) {
  const char* table = d.tables + d.table_stride * codebook_group(d.view, row);
  return {reinterpret_cast<const float*>(table),
          reinterpret_cast<const uint8_t*>(table + d.planes_offset)};
}

void assert_view(const CodebookView& v) {
  TESSERA_ASSERT(v.bits >= 1 && v.bits <= 8 && v.k >= 0 && v.k <= 1 << v.bits);
  TESSERA_ASSERT(v.vector_len >= 1 && v.vector_len <= kMaxVectorLen && v.cols % v.vector_len == 0 &&
                 v.block >= 0 && v.group_rows >= 0);
}

}  // namespace

void pack_indices(const uint8_t* indices, int64_t count, int bits, uint8_t* out) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8, out += bits) {
    uint64_t word = 0;
    for (int j = 0; j < 8; ++j) word |= uint64_t{indices[i + j]} << (j * bits);
    for (int b = 0; b < bits; ++b) out[b] = static_cast<uint8_t>(word >> (8 * b));
  }
  if (i == count) return;
  uint64_t word = 0;
  for (int j = 0; i + j < count; ++j) word |= uint64_t{indices[i + j]} << (j * bits);
  for (int64_t b = 0; 8 * b < (count - i) * bits; ++b)
    out[b] = static_cast<uint8_t>(word >> (8 * b));
}

void unpack_indices(const uint8_t* packed, int64_t first, int64_t count, int bits, uint8_t* out) {
  const int64_t bytes = ((first + count) * bits + 7) / 8;
  const int phase = static_cast<int>(first * bits & 7);
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  int64_t byte = first * bits >> 3, i = 0;
  for (; i + 8 <= count && byte + 8 <= bytes; i += 8, byte += bits) {
    uint64_t word;
    std::memcpy(&word, packed + byte, 8);
    word >>= phase;
    for (int j = 0; j < 8; ++j) out[i + j] = static_cast<uint8_t>(word >> (j * bits) & mask);
  }
  for (; i < count; ++i) out[i] = static_cast<uint8_t>(stream_index(packed, first + i, bits));
}

void convert_entries(const void* entries, EntryDtype dtype, int64_t first, int64_t n, float* out) {
  switch (dtype) {
    case EntryDtype::kF32:
      if (n) std::memcpy(out, static_cast<const float*>(entries) + first, n * sizeof(float));
      break;
    case EntryDtype::kBf16:
      for (int64_t i = 0; i < n; ++i) {
        const uint32_t word = uint32_t{static_cast<const uint16_t*>(entries)[first + i]} << 16;
        std::memcpy(out + i, &word, sizeof word);
      }
      break;
    case EntryDtype::kS8:
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<const int8_t*>(entries)[first + i];
      break;
  }
}

const DecodeKernels& decode_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx2 | kAvx512 | kVbmi)) return tessera_decode_avx512vbmi;
  if (features.includes(kAvx2 | kAvx512)) return tessera_decode_avx512;
  if (features.includes(kAvx2)) return tessera_decode_avx2;
#endif
  return tessera_decode_ref;
}

size_t decoder_table_bytes(const CodebookView& v) {
  return planes_offset(v) + (has_planes(v) ? size_t{4} << v.bits : 0);
}

size_t decoder_bytes(const CodebookView& v) {
  return decoder_table_bytes(v) * codebook_groups(v);
}

CodebookDecoder make_decoder(const CodebookView& view, CpuFeatures features, void* memory) {
  assert_view(view);
  auto* tables = static_cast<char*>(memory);
  const size_t stride = decoder_table_bytes(view);
  for (int64_t g = 0; g < codebook_groups(view); ++g) fill_table(view, g, tables + stride * g);
  return {view, &decode_kernels(features), tables, stride, planes_offset(view)};
}

void decode_span(const CodebookDecoder& decoder, int64_t row, int64_t col0, int64_t cols,
                 float* out, bool scaled) {
  const CodebookView& v = decoder.view;
  const int64_t d = v.vector_len;
  const DecodeTable table = table_of(decoder, row);
  const int64_t row_first = row * (v.cols / d);
  int64_t c = col0;
  const int64_t end = col0 + cols;
  const auto one = [&] {
    out[c - col0] = table.values[stream_index(v.indices, row_first + c / d, v.bits) * d + c % d];
    ++c;
  };
  while (c < end && c % d) one();
  if (const int64_t count = (end - c) / d; count > 0) {
    decoder.kernels->decode({v.indices, codebook_index_bytes(v), row_first + c / d, count, v.bits,
                             v.vector_len, table, out + (c - col0)});
    c += count * d;
  }
  while (c < end) one();
  if (!v.block || !scaled) return;
  const float* scale = v.scale + row * codebook_blocks(v);
  for (c = col0; c < end;) {
    const int64_t stop = std::min(end, (c / v.block + 1) * v.block);
    decoder.kernels->multiply(out + (c - col0), stop - c, scale[c / v.block]);
    c = stop;
  }
}

// With stride 0 every group number finds the same table.
GroupDecoder::GroupDecoder(const CodebookView& view, CpuFeatures features, void* table)
    : decoder_{view, &decode_kernels(features), static_cast<const char*>(table), 0,
               planes_offset(view)},
      table_(table) {
  assert_view(view);
}

void GroupDecoder::use_group(int64_t row) {
  const int64_t group = codebook_group(decoder_.view, row);
  if (group == group_) return;
  group_ = group;
  fill_table(decoder_.view, group, static_cast<char*>(table_));
}

void GroupDecoder::span(int64_t row, int64_t col0, int64_t cols, float* out, bool scaled) {
  use_group(row);
  decode_span(decoder_, row, col0, cols, out, scaled);
}

// Indices of successive rows follow each other.
void GroupDecoder::rows(int64_t row0, int64_t row1, float* out) {
  const CodebookView& v = decoder_.view;
  CodebookDecoder line = decoder_;
  line.view.rows = 1;
  line.view.cols = v.rows * v.cols;
  line.view.group_rows = line.view.block = 0;
  for (int64_t row = row0; row < row1;) {
    const int64_t end =
        v.group_rows ? std::min(row1, (row / v.group_rows + 1) * v.group_rows) : row1;
    use_group(row);
    float* first = out + (row - row0) * v.cols;
    decode_span(line, 0, row * v.cols, (end - row) * v.cols, first);
    if (v.block > 0) {
      const float* scale = v.scale + row * codebook_blocks(v);
      for (int64_t r = row; r < end; ++r, first += v.cols) {
        for (int64_t c = 0; c < v.cols; c += v.block, ++scale)
          decoder_.kernels->multiply(first + c, std::min(v.block, v.cols - c), *scale);
      }
    }
    row = end;
  }
}

void decode_rows(const CodebookView& view, int64_t row0, int64_t row1, float* out, int64_t ld,
                 CpuFeatures features) {
  const int64_t grain = 1 + 32768 / std::max<int64_t>(view.cols, 1);
  parallel_for(row1 - row0, grain, [&](int64_t begin, int64_t end) {
    alignas(64) char table[kMaxDecoderTable];
    GroupDecoder decoder(view, features, table);
    if (ld == view.cols) return decoder.rows(row0 + begin, row0 + end, out + begin * ld);
    for (int64_t r = row0 + begin; r < row0 + end; ++r)
      decoder.span(r, 0, view.cols, out + (r - row0) * ld);
  });
}

}  // namespace tessera
