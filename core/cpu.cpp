#include "core/cpu.h"

#include <array>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "core/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tessera {
namespace {

struct Name {
  CpuFeatures bit;
  const char* name;
};
constexpr std::array<Name, 6> kNames{{{kAvx2, "avx2"},
                                      {kAvxVnni, "avxvnni"},
                                      {kAvx512, "avx512"},
                                      {kVnni, "vnni"},
                                      {kVbmi, "vbmi"},
                                      {kBf16, "bf16"}}};

struct Cap {
  std::string_view word;
  CpuFeatures keeps;
};
constexpr std::array<Cap, 8> kCaps{{{"scalar", kScalar},
                                    {"avx2", kAvx2},
                                    {"avx512", kAvx2 | kAvx512},
                                    {"avx512vnni", kAvx2 | kAvx512 | kVnni},
                                    {"avx512vnnivbmi", kAvx2 | kAvx512 | kVnni | kVbmi},
                                    {"avx512vbmi", kAvx2 | kAvx512 | kVbmi},
                                    {"avx512bf16", kAvx2 | kAvx512 | kBf16},
                                    {"avxvnni", kAvx2 | kAvxVnni}}};

#if defined(__x86_64__)
constexpr bool all(uint32_t word, std::initializer_list<int> positions) {
  for (int p : positions)
    if (!(word >> p & 1)) return false;
  return true;
}

uint64_t enabled_state() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

CpuFeatures detect() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return kScalar;
  // FMA, OSXSAVE, AVX, F16C. Without OSXSAVE the operating system saves no wide registers.
  if (!all(c, {12, 27, 28, 29})) return kScalar;
  const uint64_t state = enabled_state();
  if ((state & 0x6) != 0x6) return kScalar;  // xmm, ymm
  uint32_t a1 = 0, b1 = 0, c1 = 0, d1 = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return kScalar;
  const bool more = a >= 1 && __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1);
  CpuFeatures found;
  if (all(b, {5})) found = found | kAvx2;
  if (found.includes(kAvx2) && more && all(a1, {4})) found = found | kAvxVnni;
  // opmask, upper halves of zmm0-15, zmm16-31
  if ((state & 0xe0) == 0xe0 && found.includes(kAvx2) && all(b, {16, 17, 28, 30, 31})) {
    found = found | kAvx512;
    if (all(c, {11})) found = found | kVnni;
    if (all(c, {1})) found = found | kVbmi;
    if (more && all(a1, {5})) found = found | kBf16;
  }
  return found;
}
#else
CpuFeatures detect() {
  return kScalar;
}
#endif

std::string read_processor_name() {
  std::ifstream file("/proc/cpuinfo");
  constexpr std::string_view kKey = "model name";
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with(kKey) && colon != line.npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

}  // namespace

const std::string& processor_name() {
  static const std::string name = read_processor_name();
  return name;
}

CpuFeatures detected_features() {
  static const CpuFeatures found = detect();
  return found;
}

CpuFeatures capped_features(CpuFeatures detected, std::string_view cap) {
  for (const Cap& known : kCaps) {
    if (known.word != cap) continue;
    check(detected.includes(known.keeps), "TESSERA_ISA=", cap, " asks for ",
          missing_features(detected, known.keeps), ", which this machine lacks (it has ",
          text(detected), ")");
    return detected & known.keeps;
  }
  std::string words;
  for (const Cap& known : kCaps) words.append(words.empty() ? "" : ", ").append(known.word);
  fail("TESSERA_ISA=", cap, " is not known; use one of ", words);
}

CpuFeatures active_features() {
  static const CpuFeatures active = [] {
    const char* cap = std::getenv("TESSERA_ISA");
    return cap && *cap ? capped_features(detected_features(), cap) : detected_features();
  }();
  return active;
}

std::string text(CpuFeatures features) {
  std::string out;
  for (const Name& n : kNames)
    if (features.includes(n.bit)) out.append(out.empty() ? "" : "+").append(n.name);
  return out.empty() ? "scalar" : out;
}

std::string missing_features(CpuFeatures have, CpuFeatures need) {
  const CpuFeatures missing{need.bits & ~have.bits};
  return missing.bits ? text(missing) : "";
}

}  // namespace tessera
