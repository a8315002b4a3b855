#include "core/words.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace tessera {
namespace {

using Words = std::vector<std::string>;

TEST(Words, Lists) {
  EXPECT_EQ(listed(Words{}), "");
  EXPECT_EQ(listed(Words{"a"}, " or "), "a");
  EXPECT_EQ(listed(Words{"a", "b", "c"}, " or "), "a, b or c");
}

TEST(Words, EditsAreCounted) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("train", "train"), 0);
  EXPECT_EQ(edit_distance("trian", "train"), 1);   // swapped
  EXPECT_EQ(edit_distance("tran", "train"), 1);    // one missing
  EXPECT_EQ(edit_distance("traain", "train"), 1);  // one too many
  EXPECT_EQ(edit_distance("tzain", "train"), 1);   // replaced
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
}

TEST(Words, NearestIsMeant) {
  const Words known = {"train", "trace", "checkpoint-seconds", "dc", "lc"};
  EXPECT_EQ(closest("trian", known), "train");
  EXPECT_EQ(closest("trac", known), "trace");
  EXPECT_EQ(closest("checkpoint_secs", known), "checkpoint-seconds");
  EXPECT_EQ(closest("checkp", known), "checkpoint-seconds");  // its beginning
  EXPECT_EQ(closest("dd", known), "dc");
  EXPECT_EQ(closest("frobnicate", known), "");
  EXPECT_EQ(closest("", known), "");
  EXPECT_EQ(closest(std::string(100'000, 'x'), known), "");
  EXPECT_EQ(closest("train", Words{}), "");
}

TEST(Words, UnknownOnesAreRefused) {
  const auto message = [](std::string_view word) {
    try {
      require_known("verb", word, Words{"train", "eval"});
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message("eval"), "no error");
  EXPECT_EQ(message("tarin"),
            "verb: 'tarin' is unknown; did you mean 'train'? Known are train, eval");
  EXPECT_EQ(message("x"), "verb: 'x' is unknown; known are train, eval");
}

}  // namespace
}  // namespace tessera
