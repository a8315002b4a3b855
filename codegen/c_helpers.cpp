#include "codegen/c_helpers.h"

#include <cctype>
#include <vector>

#include "core/error.h"

namespace tessera {

namespace {

struct Helper {
  std::string_view name;
  std::vector<std::string_view> calls;
  std::string_view text;
};

const Helper kHelpers[] = {
    {"larger", {}, R"(static float tessera_larger(float a, float b) {
  return a > b || a != a ? a : b;
}
)"},
    {"smaller", {}, R"(static float tessera_smaller(float a, float b) {
  return a < b || a != a ? a : b;
}
)"},
    {"row",
     {},
     R"(/* A matrix by rows: floats, or indices of `bits` bits each, the lowest first, into the entries of
   the row's group. An index stands for `vector` weights; `block` weights of a row share a scale. */
typedef struct {
  const float *dense;
  const unsigned char *indices;
  const float *entries, *scale;
  int bits, vector;
  long length, group_rows, group_entries, block;
} tessera_weights;

/* Index i of the stream at bit `first`. */
static unsigned tessera_index(const unsigned char *in, int bits, unsigned long long first, long i) {
  const unsigned long long at = first + (unsigned long long)i * (unsigned)bits;
  const unsigned shift = (unsigned)(at % 8);
  unsigned word = in[at / 8];
  if (shift + (unsigned)bits > 8) word |= (unsigned)in[at / 8 + 1] << 8;
  return word >> shift & ((1u << bits) - 1u);
}

/* Row `row`: where it lies, or decoded into `out`. */
static const float *tessera_row(const tessera_weights *w, long row, float *out) {
  if (w->dense) return w->dense + row * w->length;
  const long count = w->length / w->vector;
  const float *e = w->entries + row / w->group_rows * w->group_entries * w->vector;
  const unsigned long long first = (unsigned long long)row * (unsigned long long)count * (unsigned)w->bits;
  /* Up to where a byte begins, byte by byte, the rest. */
  const int per_byte = 8 / w->bits, whole_bytes = w->vector == 1 && 8 % w->bits == 0;
  long begin = whole_bytes ? (long)((8 - first % 8) % 8) / w->bits : count, i;
  if (begin > count) begin = count;
  const long bytes = whole_bytes ? (count - begin) / per_byte : 0;
  const unsigned char *in = w->indices + (first + 7) / 8;
  float *to = out + begin;
  for (i = 0; i < bytes; ++i, to += per_byte) {
    const unsigned byte = in[i];
    switch (w->bits) {
      case 1:
        for (int j = 0; j < 8; ++j) to[j] = e[byte >> j & 1];
        break;
      case 2:
        for (int j = 0; j < 4; ++j) to[j] = e[byte >> 2 * j & 3];
        break;
      case 4:
        to[0] = e[byte & 15];
        to[1] = e[byte >> 4];
        break;
      default:
        to[0] = e[byte];
    }
  }
  for (i = 0; i < count; ++i) {
    if (i == begin) i += bytes * per_byte;
    if (i == count) break;
    const float *entry = e + (long)tessera_index(w->indices, w->bits, first, i) * w->vector;
    for (int j = 0; j < w->vector; ++j) out[i * w->vector + j] = entry[j];
  }
  if (w->scale) {
    const float *scale = w->scale + row * ((w->length + w->block - 1) / w->block);
    for (long i = 0; i < w->length; ++i) out[i] *= scale[i / w->block];
  }
  return out;
}
)"},
    {"dot", {}, R"(static float tessera_dot(const float *a, long step, const float *b, long n) {
  float sum[8] = {0};
  const long whole = step == 1 ? n / 8 * 8 : 0;
  for (long i = 0; i < whole; i += 8) {
    for (int j = 0; j < 8; ++j) sum[j] += a[i + j] * b[i + j];
  }
  for (long i = whole; i < n; ++i) sum[0] += a[i * step] * b[i];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}
)"},
    {"matmul", {"row", "dot"}, R"(/* y[m,n] = a[m,k] b', b of n rows. */
static void tessera_matmul(const float *a, long a_row, long a_column, const tessera_weights *b,
                           float *y, long m, long n, long k, float *buffer) {
  for (long j = 0; j < n; ++j) {
    const float *row = tessera_row(b, j, buffer);
    for (long i = 0; i < m; ++i) y[i * n + j] = tessera_dot(a + i * a_row, a_column, row, k);
  }
}
)"},
    {"matmul_rows", {"row"}, R"(/* y[m,n] = a[m,k] b, b of k rows. */
static void tessera_matmul_rows(const float *a, long a_row, long a_column, const tessera_weights *b,
                                float *y, long m, long n, long k, float *buffer) {
  for (long i = 0; i < m * n; ++i) y[i] = 0;
  for (long p = 0; p < k; ++p) {
    const float *row = tessera_row(b, p, buffer);
    for (long i = 0; i < m; ++i) {
      const float v = a[i * a_row + p * a_column];
      for (long j = 0; j < n; ++j) y[i * n + j] += v * row[j];
    }
  }
}
)"},
    {"batched_matmul", {}, R"(/* y[...,m,n] = a[...,m,k] b[...,k,n]: `axes` leading axes of size[i],
   in which a and b have steps of their own. */
static void tessera_batched_matmul(const float *a, long a_row, long a_column, const float *b,
                                   long b_row, long b_column, float *y, long m, long n, long k,
                                   int axes, const long *size, const long *step_a,
                                   const long *step_b) {
  if (axes > 0) {
    for (long i = 0; i < size[0]; ++i) {
      long rest = m * n;
      for (int d = 1; d < axes; ++d) rest *= size[d];
      tessera_batched_matmul(a + i * step_a[0], a_row, a_column, b + i * step_b[0], b_row, b_column,
                             y + i * rest, m, n, k, axes - 1, size + 1, step_a + 1, step_b + 1);
    }
    return;
  }
  for (long i = 0; i < m * n; ++i) y[i] = 0;
  for (long i = 0; i < m; ++i) {
    for (long p = 0; p < k; ++p) {
      const float v = a[i * a_row + p * a_column];
      for (long j = 0; j < n; ++j) y[i * n + j] += v * b[p * b_row + j * b_column];
    }
  }
}
)"},
    {"tap",
     {},
     R"(/* A convolution of n images: channels c x h x w to out x oh x ow, filters kh x kw. */
typedef struct {
  long n, c, h, w, out, oh, ow, kh, kw, sh, sw, dh, dw, top, left, groups;
} tessera_conv_shape;

/* The outputs [first, end) of `count` along an axis whose input lies inside an image of `size`. */
static long tessera_first(long shift, long stride) {
  return shift > 0 ? (shift + stride - 1) / stride : 0;
}
static long tessera_end(long shift, long stride, long size, long count) {
  const long room = size - 1 + shift;
  const long end = room < 0 ? 0 : room / stride + 1;
  return end < count ? end : count;
}

/* y[i,j] += v x[i sh + p dh - top, j sw + q dw - left], for the plane of an image. */
static void tessera_tap(const tessera_conv_shape *s, const float *x, float *y, long p, long q,
                        float v) {
  const long down = s->top - p * s->dh, right = s->left - q * s->dw;
  const long i1 = tessera_end(down, s->sh, s->h, s->oh), j1 = tessera_end(right, s->sw, s->w, s->ow);
  const long j0 = tessera_first(right, s->sw);
  for (long i = tessera_first(down, s->sh); i < i1; ++i) {
    const float *from = x + (i * s->sh - down) * s->w - right;
    float *to = y + i * s->ow;
    if (s->sw == 1) {
      for (long j = j0; j < j1; ++j) to[j] += v * from[j];
    } else {
      for (long j = j0; j < j1; ++j) to[j] += v * from[j * s->sw];
    }
  }
}
)"},
    {"conv2d",
     {"row", "tap"},
     R"(static void tessera_conv2d(const tessera_conv_shape *s, const float *x, const tessera_weights *w,
                           float *y, float *buffer) {
  const long channels = s->c / s->groups, filters = s->out / s->groups;
  for (long o = 0; o < s->out; ++o) {
    const float *row = tessera_row(w, o, buffer);
    for (long n = 0; n < s->n; ++n) {
      float *plane = y + (n * s->out + o) * s->oh * s->ow;
      const float *image = x + (n * s->c + o / filters * channels) * s->h * s->w;
      for (long i = 0; i < s->oh * s->ow; ++i) plane[i] = 0;
      for (long c = 0; c < channels; ++c) {
        for (long t = 0; t < s->kh * s->kw; ++t) {
          tessera_tap(s, image + c * s->h * s->w, plane, t / s->kw, t % s->kw,
                      row[c * s->kh * s->kw + t]);
        }
      }
    }
  }
}
)"},
    {"gap", {}, R"(/* Zeros before the next value of a sparse tensor. */
static long tessera_gap(const unsigned char **stream) {
  long gap = *(*stream)++;
  if (gap < 255) return gap;
  for (int shift = 0;; shift += 7) {
    const unsigned char byte = *(*stream)++;
    gap += (long)(byte & 127) << shift;
    if (byte < 128) return gap;
  }
}
)"},
    {"sparse_matmul", {"gap"}, R"(/* y[m,n] = a[m,k] S', S of n rows (transposed) or of k. */
static void tessera_sparse_matmul(const float *a, const unsigned char *positions,
                                  const float *values, long count, float *y, long m, long n, long k,
                                  int transposed) {
  long at = -1;
  for (long i = 0; i < m * n; ++i) y[i] = 0;
  for (long v = 0; v < count; ++v) {
    at += 1 + tessera_gap(&positions);
    const long j = transposed ? at / k : at % n, p = transposed ? at % k : at / n;
    for (long i = 0; i < m; ++i) y[i * n + j] += a[i * k + p] * values[v];
  }
}
)"},
    {"sparse_conv2d",
     {"gap", "tap"},
     R"(static void tessera_sparse_conv2d(const tessera_conv_shape *s, const float *x,
                                  const unsigned char *positions, const float *values, long count,
                                  float *y) {
  const long channels = s->c / s->groups, filters = s->out / s->groups, taps = s->kh * s->kw;
  long at = -1;
  for (long i = 0; i < s->n * s->out * s->oh * s->ow; ++i) y[i] = 0;
  for (long v = 0; v < count; ++v) {
    at += 1 + tessera_gap(&positions);
    const long o = at / (channels * taps), c = o / filters * channels + at / taps % channels;
    for (long n = 0; n < s->n; ++n) {
      tessera_tap(s, x + (n * s->c + c) * s->h * s->w, y + (n * s->out + o) * s->oh * s->ow,
                  at % taps / s->kw, at % s->kw, values[v]);
    }
  }
}
)"},
    {"pool",
     {},
     R"(/* Windows of `planes` images h x w; `mean` 0: the largest, 1: the mean of the part inside the
   image, 2: of the whole window. */
static void tessera_pool(const float *x, float *y, long planes, long h, long w, long oh, long ow,
                         long kh, long kw, long sh, long sw, long top, long left, int mean) {
  for (long p = 0; p < planes; ++p, x += h * w) {
    for (long i = 0; i < oh; ++i) {
      for (long j = 0; j < ow; ++j) {
        const long r0 = i * sh - top, c0 = j * sw - left;
        float best = -INFINITY, sum = 0;
        long count = 0;
        for (long r = r0 > 0 ? r0 : 0; r < r0 + kh && r < h; ++r) {
          for (long c = c0 > 0 ? c0 : 0; c < c0 + kw && c < w; ++c, ++count) {
            const float v = x[r * w + c];
            if (v > best || v != v) best = v;
            sum += v;
          }
        }
        *y++ = mean == 0 ? best : sum / (float)(mean == 2 ? kh * kw : count);
      }
    }
  }
}
)"},
    {"embedding", {"row"}, R"(/* Whether all of n rows are there. */
static int tessera_embedding(const tessera_weights *table, long rows, const int32_t *index, long n,
                             float *y, float *buffer) {
  for (long i = 0; i < n; ++i) {
    if (index[i] < 0 || index[i] >= rows) return 0;
    memcpy(y + i * table->length, tessera_row(table, index[i], buffer),
           (size_t)table->length * sizeof *y);
  }
  return 1;
}
)"},
    {"lstm",
     {"row", "dot"},
     R"(/* Steps of an LSTM on x[steps,batch,4h], gates in the order i, f, g, o; c holds the first state and
   then the last. gain may be NULL; with `norm` the products of r are normalized before it.
   `gates` is scratch of batch x 4h. */
static void tessera_lstm(const float *x, const tessera_weights *r, const float *h0, const float *gain,
                         int norm, float epsilon, float *y, float *c, long steps, long batch, long h,
                         float *gates, float *buffer) {
  for (long s = 0; s < steps; ++s) {
    const float *last = s == 0 ? h0 : y + (s - 1) * batch * h;
    for (long j = 0; j < 4 * h; ++j) {
      const float *row = tessera_row(r, j, buffer);
      for (long b = 0; b < batch; ++b) gates[b * 4 * h + j] = tessera_dot(last + b * h, 1, row, h);
    }
    for (long b = 0; b < batch; ++b) {
      float *g = gates + b * 4 * h, *state = c + b * h, *out = y + (s * batch + b) * h;
      const float *in = x + (s * batch + b) * 4 * h;
      if (norm) {
        float mean = 0, variance = 0;
        for (long j = 0; j < 4 * h; ++j) mean += g[j];
        mean /= (float)(4 * h);
        for (long j = 0; j < 4 * h; ++j) variance += (g[j] - mean) * (g[j] - mean);
        const float scale = 1 / sqrtf(variance / (float)(4 * h) + epsilon);
        for (long j = 0; j < 4 * h; ++j) g[j] = (g[j] - mean) * scale;
      }
      for (long j = 0; j < 4 * h; ++j) g[j] = in[j] + (gain ? gain[j] * g[j] : g[j]);
      for (long j = 0; j < h; ++j) {
        const float i = 1 / (1 + expf(-g[j])), f = 1 / (1 + expf(-g[h + j]));
        state[j] = f * state[j] + i * tanhf(g[2 * h + j]);
        out[j] = tanhf(state[j]) / (1 + expf(-g[3 * h + j]));
      }
    }
  }
}
)"},
    {"softmax", {}, R"(/* Lines of n elements, `inner` apart; `logarithm`: log softmax. */
static void tessera_softmax(const float *x, float *y, long outer, long n, long inner,
                            int logarithm) {
  for (long o = 0; o < outer * inner; ++o) {
    const long at = o / inner * n * inner + o % inner;
    float most = -INFINITY, sum = 0;
    for (long i = 0; i < n; ++i) {
      const float v = x[at + i * inner];
      if (v > most || v != v) most = v;
    }
    for (long i = 0; i < n; ++i) sum += expf(x[at + i * inner] - most);
    for (long i = 0; i < n; ++i) {
      const float v = x[at + i * inner] - most;
      y[at + i * inner] = logarithm ? v - logf(sum) : expf(v) / sum;
    }
  }
}
)"},
    {"argmax", {}, R"(/* The first of the largest of n elements, `inner` apart. */
static void tessera_argmax(const float *x, int32_t *y, long outer, long n, long inner) {
  for (long o = 0; o < outer * inner; ++o) {
    const float *line = x + o / inner * n * inner + o % inner;
    long best = 0;
    for (long i = 1; i < n && line[best * inner] == line[best * inner]; ++i) {
      if (line[i * inner] > line[best * inner] || line[i * inner] != line[i * inner]) best = i;
    }
    y[o] = (int32_t)best;
  }
}
)"},
    {"upsample",
     {},
     R"(static void tessera_upsample(const float *x, float *y, long planes, long h, long w, long factor,
                             int bilinear) {
  for (long p = 0; p < planes; ++p, x += h * w) {
    for (long i = 0; i < h * factor; ++i) {
      for (long j = 0; j < w * factor; ++j) {
        if (!bilinear) {
          *y++ = x[i / factor * w + j / factor];
          continue;
        }
        float r = ((float)i + 0.5f) / (float)factor - 0.5f, c = ((float)j + 0.5f) / (float)factor - 0.5f;
        if (r < 0) r = 0;
        if (c < 0) c = 0;
        const long r0 = (long)r, c0 = (long)c;
        const long r1 = r0 + 1 < h ? r0 + 1 : h - 1, c1 = c0 + 1 < w ? c0 + 1 : w - 1;
        r -= (float)r0;
        c -= (float)c0;
        *y++ = (1 - r) * ((1 - c) * x[r0 * w + c0] + c * x[r0 * w + c1]) +
               r * ((1 - c) * x[r1 * w + c0] + c * x[r1 * w + c1]);
      }
    }
  }
}
)"},
};

}  // namespace

std::string c_helper(std::string_view name, std::string& written) {
  const std::string mark = cat("|", name, "|");
  if (written.find(mark) != std::string::npos) return {};
  written += mark;
  for (const Helper& helper : kHelpers) {
    if (helper.name != name) continue;
    std::string out;
    for (const auto call : helper.calls) out += c_helper(call, written);
    std::string guard = "TESSERA_C_";
    for (const char c : name)
      guard += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return out + cat("#ifndef ", guard, "\n#define ", guard, "\n", helper.text, "#endif\n\n");
  }
  fail("no C helper is called ", name);
}

}  // namespace tessera
