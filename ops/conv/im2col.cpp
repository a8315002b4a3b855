#include "ops/conv/im2col.h"

#include <algorithm>

namespace tessera {

namespace {

// Output columns [begin, end) whose source column lies inside the image, for tap q.
struct Inside {
  std::int64_t begin, end, first;  // first: source column of output column 0
};
Inside inside(std::int64_t size, std::int64_t count, std::int64_t stride, std::int64_t first) {
  const std::int64_t begin = first >= 0 ? 0 : (-first + stride - 1) / stride;
  const std::int64_t end = first >= size ? 0 : (size - first + stride - 1) / stride;
  return {std::min(begin, count), std::clamp<std::int64_t>(end, std::min(begin, count), count),
          first};
}

}  // namespace

const LineKernels& line_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx512)) return tessera_line_avx512;
  if (features.includes(kAvx2)) return tessera_line_avx2;
#endif
  return tessera_line_ref;
}

void im2col(const LineKernels& lines, const ConvGeometry& g, const float* x, std::int64_t row0,
            std::int64_t rows, std::int64_t col0, std::int64_t cols, float* dst, std::int64_t ld) {
  const std::int64_t taps = g.kh * g.kw;
  // Without borders and steps the patches are whole lines of the image.
  const bool plain = g.stride_h == 1 && g.stride_w == 1 && g.top + g.bottom == 0 &&
                     g.left + g.right == 0 && col0 % g.ow == 0 && cols % g.ow == 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t c = (row0 + r) / taps, p = (row0 + r) % taps / g.kw, q = (row0 + r) % g.kw;
    const float* plane = x + c * g.h * g.w;
    const Inside span = inside(g.w, g.ow, g.stride_w, q * g.dilation_w - g.left);
    float* out = dst + r * ld;
    if (plain) {
      const float* first = plane + (col0 / g.ow + p * g.dilation_h) * g.w + q * g.dilation_w;
      lines.gather(first, g.w, cols / g.ow, g.ow, out);
      continue;
    }
    std::int64_t i = col0 / g.ow, j0 = col0 % g.ow;
    for (std::int64_t done = 0; done < cols; ++i, j0 = 0) {
      const std::int64_t j1 = std::min(g.ow, j0 + cols - done);
      const std::int64_t source = i * g.stride_h + p * g.dilation_h - g.top;
      float* to = out + done - j0;  // of output column 0
      done += j1 - j0;
      if (source < 0 || source >= g.h) {
        std::fill(to + j0, to + j1, 0.0f);
        continue;
      }
      const float* line = plane + source * g.w + span.first;
      const std::int64_t begin = std::clamp(span.begin, j0, j1),
                         end = std::clamp(span.end, begin, j1);
      for (std::int64_t j = j0; j < begin; ++j) to[j] = 0;
      if (g.stride_w == 1) {
        lines.gather(line + begin, 0, 1, end - begin, to + begin);
      } else {
        for (std::int64_t j = begin; j < end; ++j) to[j] = line[j * g.stride_w];
      }
      for (std::int64_t j = end; j < j1; ++j) to[j] = 0;
    }
  }
}

void col2im_add(const LineKernels& lines, const ConvGeometry& g, const float* patches, float* x) {
  const bool plain =
      g.stride_h == 1 && g.stride_w == 1 && g.top + g.bottom == 0 && g.left + g.right == 0;
  for (std::int64_t c = 0; c < g.group_channels(); ++c) {
    for (std::int64_t p = 0; p < g.kh; ++p) {
      for (std::int64_t q = 0; q < g.kw; ++q, patches += g.oh * g.ow) {
        if (plain) {
          float* first = x + (c * g.h + p * g.dilation_h) * g.w + q * g.dilation_w;
          lines.scatter_add(patches, g.oh, g.ow, first, g.w);
          continue;
        }
        const Inside span = inside(g.w, g.ow, g.stride_w, q * g.dilation_w - g.left);
        for (std::int64_t i = 0; i < g.oh; ++i) {
          const std::int64_t source = i * g.stride_h + p * g.dilation_h - g.top;
          if (source < 0 || source >= g.h) continue;
          float* line = x + (c * g.h + source) * g.w + span.first;
          const float* from = patches + i * g.ow;
          if (g.stride_w == 1) {
            for (std::int64_t j = span.begin; j < span.end; ++j) line[j] += from[j];
          } else {
            for (std::int64_t j = span.begin; j < span.end; ++j) line[j * g.stride_w] += from[j];
          }
        }
      }
    }
  }
}

}  // namespace tessera
