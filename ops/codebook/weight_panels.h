// A codebook weight as floats, sixteen rows at a time with the rows in the lanes of vectors: where
// kernels that decode a block of a weight get it from, however its indices lie.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cpu.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/view.h"

namespace tessera {

class WeightPanels {
 public:
  // `packed`: the indices lie as repack_codebook leaves them, which packs() allows.
  WeightPanels(const CodebookView& view, bool packed, CpuFeatures features);
  static bool packs(const CodebookView& view);

  bool packed() const { return packed_; }
  // Bytes that a run wants for its tables, and for each thread; both 64-byte aligned.
  std::size_t table_bytes() const;
  std::size_t thread_bytes() const;

  // Of one run.
  class Bound {
   public:
    // dst[order[i] * ks + r / 16 * vs + r % 16] = W[row0 + r, k0 + i] for r < rows, i < k, zero for
    // rows of the last sixteen that there are not; without an order i itself. row0 is a multiple of
    // 16 and k0 of 8.
    void fill(std::int64_t row0, std::int64_t rows, std::int64_t k0, std::int64_t k, float* dst,
              std::int64_t ks, std::int64_t vs, void* thread_scratch,
              const std::int32_t* order = nullptr) const;

   private:
    void fill_logical(std::int64_t row0, std::int64_t rows, std::int64_t k0, std::int64_t k,
                      float* dst, std::int64_t ks, std::int64_t vs, void* thread_scratch,
                      const std::int32_t* order) const;

    friend class WeightPanels;
    const WeightPanels* panels;
    CodebookView view;
    const void* packed;
    PackedLayout layout;
    CodebookDecoder decoder;
  };
  // The planes of `view` (unless packed) or the packed form.
  Bound bind(const CodebookView& view, const void* packed, void* tables) const;

 private:
  CodebookView view_;
  bool packed_;
  CpuFeatures features_;
};

}  // namespace tessera
