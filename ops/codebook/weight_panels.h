// A weight as floats, sixteen rows at a time with the rows in the lanes of vectors: where kernels
// that read a block of a weight get it from, dense or codebook, however its indices lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/cpu.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/view.h"

namespace tessera {

class WeightPanels {
 public:
  // How the weight lies: as the planes of a codebook, or repacked, once for all runs: the bits of
  // its indices together, or a byte each; or floats, if it is dense.
  enum class Form { planes, panels, bytes, floats };

  // The form in which a codebook weight is decoded fastest; `fixed`: it may be repacked.
  WeightPanels(const CodebookView& view, bool fixed, CpuFeatures features);
  // Of a dense matrix, which is repacked.
  WeightPanels(std::int64_t rows, std::int64_t cols, CpuFeatures features);

  bool packed() const { return form_ != Form::planes; }
  std::string_view layout() const;
  std::size_t packed_bytes() const;
  // Of the planes of a codebook, or of a dense matrix.
  void pack(const CodebookView& planes, const float* matrix, void* packed) const;

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
    void fill_rows(std::int64_t row0, std::int64_t rows, std::int64_t k0, std::int64_t k,
                   float* dst, std::int64_t ks, std::int64_t vs, void* thread_scratch,
                   const std::int32_t* order) const;

    friend class WeightPanels;
    const WeightPanels* panels;
    CodebookView view;
    const void* packed;
    PackedLayout layout;
    CodebookDecoder decoder;
  };
  // The planes, or what pack() wrote.
  Bound bind(const CodebookView& planes, const void* packed, void* tables) const;

 private:
  CodebookView view_;
  Form form_;
  CpuFeatures features_;
};

}  // namespace tessera
