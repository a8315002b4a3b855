#include "core/text.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Text, HarmlessTextStays) {
  for (const std::string text :
       {"", "fc1.weight", "a b \\ \" '", "é", "重み", "\xf0\x9f\x98\x80"}) {
    EXPECT_EQ(escaped(text), text);
  }
}

TEST(Text, WhatMovesTheCursorIsEscaped) {
  EXPECT_EQ(escaped("a\x1b[31mb\n\r\t\x7f"), "a\\x1b[31mb\\x0a\\x0d\\x09\\x7f");
  EXPECT_EQ(escaped(std::string("\0", 1)), "\\x00");
  EXPECT_EQ(escaped("\xc2\x9b"), "\\xc2\\x9b");               // CSI in eight bits
  EXPECT_EQ(escaped("\xc2\xa0"), "\xc2\xa0");                 // a space
  EXPECT_EQ(escaped("\xe2\x80\xa8"), "\\xe2\\x80\\xa8");      // line separator
  EXPECT_EQ(escaped("a\xe2\x80\xae!"), "a\\xe2\\x80\\xae!");  // right to left
  EXPECT_EQ(escaped("\xe2\x81\xa6"), "\\xe2\\x81\\xa6");      // isolate
}

TEST(Text, BytesThatAreNoCharacterAreEscaped) {
  EXPECT_EQ(escaped("\x9b"), "\\x9b");
  EXPECT_EQ(escaped("\xff"
                    "a"),
            "\\xffa");
  EXPECT_EQ(escaped("\xc3"), "\\xc3");                    // cut short
  EXPECT_EQ(escaped("\xc0\x8a"), "\\xc0\\x8a");           // a line break, too long
  EXPECT_EQ(escaped("\xe0\x82\x9b"), "\\xe0\\x82\\x9b");  // CSI, too long
  EXPECT_EQ(escaped("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // half of a pair
  EXPECT_EQ(escaped("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

TEST(Text, LongNamesAreCutBetweenCharacters) {
  EXPECT_EQ(printable(std::string(80, 'a')), std::string(80, 'a'));
  EXPECT_EQ(printable(std::string(79, 'a') + "é"), std::string(79, 'a') + "...");
  EXPECT_EQ(quote("a\n"), "'a\\x0a'");
}

}  // namespace
}  // namespace tessera
