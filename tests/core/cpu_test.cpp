#include "core/cpu.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace tessera {
namespace {

TEST(Cpu, FeaturesAreComparedByInclusion) {
  const CpuFeatures both = kAvx2 | kAvx512;
  EXPECT_TRUE(both.includes(kScalar));
  EXPECT_TRUE(both.includes(kAvx2));
  EXPECT_FALSE(both.includes(kVbmi));
  EXPECT_FALSE(kAvx2.includes(both));
  EXPECT_EQ(text(both | kVnni), "avx2+avx512+vnni");
  EXPECT_EQ(text(kScalar), "scalar");
  EXPECT_EQ(missing_features(kAvx2, kAvx2 | kVbmi), "vbmi");
  EXPECT_EQ(missing_features(both, kAvx2), "");
}

TEST(Cpu, CapsOnlyLower) {
  const CpuFeatures all = kAvx2 | kAvxVnni | kAvx512 | kVnni | kVbmi | kBf16;
  EXPECT_EQ(capped_features(all, "scalar"), kScalar);
  EXPECT_EQ(capped_features(all, "avx2"), kAvx2);
  EXPECT_EQ(capped_features(all, "avx512"), kAvx2 | kAvx512);
  EXPECT_EQ(capped_features(all, "avx512vnni"), kAvx2 | kAvx512 | kVnni);
  EXPECT_EQ(capped_features(all, "avx512vbmi"), kAvx2 | kAvx512 | kVbmi);
  EXPECT_EQ(capped_features(all, "avx512vnnivbmi"), kAvx2 | kAvx512 | kVnni | kVbmi);
  EXPECT_EQ(capped_features(all, "avxvnni"), kAvx2 | kAvxVnni);
  EXPECT_EQ(capped_features(kAvx2, "scalar"), kScalar);
  EXPECT_THROW(capped_features(kAvx2, "avx512"), Error);
  EXPECT_THROW(capped_features(kAvx2 | kAvx512, "avx512vnni"), Error);
}

TEST(Cpu, BadCapsSayWhatIsWrong) {
  try {
    capped_features(kAvx2, "avx512");
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "TESSERA_ISA=avx512 asks for avx512, which this machine lacks (it has avx2)");
  }
  try {
    capped_features(kAvx2, "sse9");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("use one of scalar, avx2, avx512"), std::string::npos);
  }
}

TEST(Cpu, ActiveIsPartOfDetected) {
  EXPECT_TRUE(detected_features().includes(active_features()));
  EXPECT_TRUE(!detected_features().includes(kAvx512) || detected_features().includes(kAvx2));
}

}  // namespace
}  // namespace tessera
