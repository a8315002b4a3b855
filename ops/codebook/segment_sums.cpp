// Gradients of codebook entries and scales.
#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/codebook/decode.h"

namespace tessera {
namespace {

// A group's rows are cut into at most this many chunks, whatever the thread count.
constexpr int64_t kChunks = 64;
constexpr int64_t kMinChunkElements = 8192;
constexpr int64_t kBuffer = 4096;

struct Chunks {
  int64_t group_rows, rows, per_group;  // rows of a group, rows of a chunk, chunks of a group
};

Chunks chunks_of(const CodebookView& v) {
  Chunks c{};
  c.group_rows = v.group_rows ? std::min(v.group_rows, v.rows) : v.rows;
  const int64_t groups = std::max<int64_t>(codebook_groups(v), 1);  // none without rows
  const int64_t wanted = std::max<int64_t>(1, kChunks / groups);
  const int64_t least = 1 + kMinChunkElements / std::max<int64_t>(v.cols, 1);
  c.rows = std::max((c.group_rows + wanted - 1) / wanted, least);
  c.per_group = std::max<int64_t>(1, (c.group_rows + c.rows - 1) / c.rows);
  return c;
}

// Adds the rows [row0, row1) of one group to sums[k * vector_len].
class ChunkSums {
 public:
  ChunkSums(const CodebookView& view, const float* d_w, int64_t ld, CpuFeatures features)
      : v_(view), d_w_(d_w), ld_(ld), kernels_(decode_kernels(features)) {}

  void add(int64_t row0, int64_t row1, float* sums) {
    const int64_t d = v_.vector_len;
    const int64_t bytes = codebook_index_bytes(v_);
    if (d == 1 && !v_.block && ld_ == v_.cols) {  // one run of elements
      const int64_t first = row0 * v_.cols, count = (row1 - row0) * v_.cols;
      kernels_.segment_sums({v_.indices, bytes, first, count, v_.bits, v_.k, d_w_ + first, sums});
      return;
    }
    const int64_t step = kBuffer / d * d;
    for (int64_t r = row0; r < row1; ++r) {
      for (int64_t c = 0; c < v_.cols; c += step) {
        const int64_t n = std::min(step, v_.cols - c), first = (r * v_.cols + c) / d;
        const float* values = scaled(r, c, n);
        if (d == 1) {
          kernels_.segment_sums({v_.indices, bytes, first, n, v_.bits, v_.k, values, sums});
        } else {
          unpack_indices(v_.indices, first, n / d, v_.bits, index_);
          for (int64_t i = 0; i < n; ++i) {
            const int64_t index = index_[i / d];
            if (index < v_.k) sums[index * d + i % d] += values[i];  // as the kernels do
          }
        }
      }
    }
  }

 private:
  const float* scaled(int64_t row, int64_t col, int64_t n) {
    const float* src = d_w_ + row * ld_ + col;
    if (!v_.block) return src;
    std::memcpy(values_, src, n * sizeof(float));
    const float* scale = v_.scale + row * codebook_blocks(v_);
    for (int64_t c = col; c < col + n;) {
      const int64_t stop = std::min(col + n, (c / v_.block + 1) * v_.block);
      kernels_.multiply(values_ + (c - col), stop - c, scale[c / v_.block]);
      c = stop;
    }
    return values_;
  }

  const CodebookView& v_;
  const float* d_w_;
  int64_t ld_;
  const DecodeKernels& kernels_;
  uint8_t index_[kBuffer];
  float values_[kBuffer];
};

// Sixteen running sums, so that compilers can keep them in vectors.
float dot(const float* a, const float* b, int64_t n, float* lanes) {
  std::fill(lanes, lanes + 16, 0.0f);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 16; ++j) lanes[j] += a[i + j] * b[i + j];
  for (int j = 0; i < n; ++i, ++j) lanes[j] += a[i] * b[i];
  float sum = 0.0f;
  for (int j = 0; j < 16; ++j) sum += lanes[j];
  return sum;
}

void scale_gradient(const CodebookView& v, const float* d_w, int64_t ld, float* d_scale,
                    CpuFeatures features) {
  const int64_t grain = 1 + 32768 / std::max<int64_t>(v.cols, 1);
  parallel_for(v.rows, grain, [&](int64_t begin, int64_t end) {
    alignas(64) char table[kMaxDecoderTable];
    GroupDecoder decoder(v, features, table);
    float entries[kBuffer], lanes[16];
    for (int64_t r = begin; r < end; ++r)
      for (int64_t b = 0; b < codebook_blocks(v); ++b) {
        const int64_t stop = std::min(v.cols, (b + 1) * v.block);
        float sum = 0.0f;
        for (int64_t c = b * v.block; c < stop; c += kBuffer) {
          const int64_t n = std::min(kBuffer, stop - c);
          decoder.span(r, c, n, entries, false);
          sum += dot(entries, d_w + r * ld + c, n, lanes);
        }
        d_scale[r * codebook_blocks(v) + b] += sum;
      }
  });
}

void entries_gradient(const CodebookView& view, const float* d_w, int64_t ld, float* d_entries,
                      CpuFeatures features, void* scratch) {
  const Chunks chunks = chunks_of(view);
  const int64_t groups = codebook_groups(view), size = int64_t{view.k} * view.vector_len;
  auto* partial = static_cast<float*>(scratch);
  const int64_t grain = 1 + 65536 / std::max<int64_t>(chunks.rows * view.cols, 1);
  parallel_for(groups * chunks.per_group, grain, [&](int64_t begin, int64_t end) {
    ChunkSums sums(view, d_w, ld, features);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t g = i / chunks.per_group, c = i % chunks.per_group;
      const int64_t group_end = std::min(view.rows, (g + 1) * chunks.group_rows);
      const int64_t row0 = std::min(group_end, g * chunks.group_rows + c * chunks.rows);
      const int64_t row1 = std::min(group_end, row0 + chunks.rows);
      float* out = chunks.per_group == 1 ? d_entries + g * size : partial + i * size;
      if (chunks.per_group > 1) std::fill(out, out + size, 0.0f);
      sums.add(row0, row1, out);
    }
  });
  if (chunks.per_group > 1)
    for (int64_t i = 0; i < groups * chunks.per_group; ++i)
      for (int64_t j = 0; j < size; ++j)
        d_entries[i / chunks.per_group * size + j] += partial[i * size + j];
}

}  // namespace

size_t codebook_gradient_scratch(const CodebookView& v) {
  const Chunks c = chunks_of(v);
  if (c.per_group == 1) return 0;
  const size_t bytes = sizeof(float) * codebook_groups(v) * c.per_group * v.k * v.vector_len;
  return (bytes + 63) / 64 * 64;
}

void codebook_gradient(const CodebookView& view, const float* d_w, int64_t ld, float* d_entries,
                       float* d_scale, CpuFeatures features, void* scratch) {
  if (view.rows == 0 || view.cols == 0) return;
  if (d_entries) entries_gradient(view, d_w, ld, d_entries, features, scratch);
  if (d_scale && view.block) scale_gradient(view, d_w, ld, d_scale, features);
}

}  // namespace tessera
