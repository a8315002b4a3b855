// CPU features: what this processor and operating system offer, and how TESSERA_ISA lowers it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tessera {

// A set of independent feature bits. Kernels name the set they need and are usable when it is
// included in the active set; there is no ordering between bits (VBMI exists without VNNI, ...).
struct CpuFeatures {
  uint32_t bits = 0;

  constexpr bool includes(CpuFeatures need) const { return (bits & need.bits) == need.bits; }
  constexpr CpuFeatures operator|(CpuFeatures other) const { return {bits | other.bits}; }
  constexpr CpuFeatures operator&(CpuFeatures other) const { return {bits & other.bits}; }
  constexpr bool operator==(const CpuFeatures&) const = default;
};

inline constexpr CpuFeatures kScalar{0};
inline constexpr CpuFeatures kAvx2{1};      // AVX2, FMA and F16C
inline constexpr CpuFeatures kAvx512{2};    // AVX-512 F, BW, DQ, VL and CD
inline constexpr CpuFeatures kVnni{4};      // AVX-512 VNNI
inline constexpr CpuFeatures kVbmi{8};      // AVX-512 VBMI
inline constexpr CpuFeatures kBf16{16};     // AVX-512 BF16
inline constexpr CpuFeatures kAvxVnni{32};  // AVX-VNNI

// What CPUID reports and the operating system saves (XCR0). Constant for the process.
CpuFeatures detected_features();

// detected_features() lowered by a cap word: scalar, avx2, avx512, avx512vnni, avx512vnnivbmi,
// avx512vbmi, avx512bf16, avxvnni. A cap keeps its own bits only. An unknown word, or one that
// asks for more than was detected, throws Error.
CpuFeatures capped_features(CpuFeatures detected, std::string_view cap);

// detected_features() lowered by the environment variable TESSERA_ISA, read once.
CpuFeatures active_features();

// "avx2+avx512+vnni", or "scalar" for the empty set.
std::string text(CpuFeatures features);

// The processor's name, "AMD EPYC 9B45", as the system tells it; "unknown processor" where it does
// not.
const std::string& processor_name();

// The bits of `need` that `have` lacks, as text(); empty when nothing is missing.
std::string missing_features(CpuFeatures have, CpuFeatures need);

}  // namespace tessera
