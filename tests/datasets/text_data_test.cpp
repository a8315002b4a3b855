// The real Penn Treebank; counts as published.
#include <gtest/gtest.h>

#include "datasets/text.h"
#include "tests/data_dir.h"

namespace tessera::datasets {
namespace {

TEST(TreebankData, WordsAndCharacters) {
  const auto dir = testing::data_dir("ptb");
  if (!dir) GTEST_SKIP() << "no ptb in TESSERA_DATA or ../shared/data";
  const TextSplit words = read_texts(*dir, TextUnit::word);
  EXPECT_EQ(words.name, "ptb");
  EXPECT_EQ(words.vocabulary->size(), 10000);
  EXPECT_EQ(std::ssize(words.train.tokens), 929589);
  EXPECT_EQ(std::ssize(words.validation.tokens), 73760);
  EXPECT_EQ(std::ssize(words.test.tokens), 82430);
  EXPECT_EQ(words.validation.unknown + words.test.unknown, 0);
  EXPECT_EQ((*words.vocabulary)[0], "aer");
  const TextSplit characters = read_texts(*dir, TextUnit::character);
  EXPECT_EQ(std::ssize(characters.train.tokens), 5101618);
  EXPECT_EQ(std::ssize(characters.test.tokens), 449945);
  EXPECT_LT(characters.vocabulary->size(), 60);
}

}  // namespace
}  // namespace tessera::datasets
