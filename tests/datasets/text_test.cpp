// Texts: words and characters, vocabularies, bad files, streams; the built-in text.
#include "datasets/text.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "datasets/synthetic_text.h"
#include "tests/datasets/temp_dir.h"

namespace tessera::datasets {
namespace {

using Numbers = std::vector<std::int32_t>;

Text parsed(std::string_view text, TextUnit unit, Vocabulary& vocabulary, bool grow = true) {
  return parse_text(text, "here", unit, vocabulary, grow);
}

TEST(Text, WordsOfLinesInTheOrderOfTheirFirstAppearance) {
  Vocabulary v;
  EXPECT_EQ(parsed(" a b  a \n\n\tc\r\na", TextUnit::word, v).tokens,
            (Numbers{0, 1, 0, 2, 3, 2, 0, 2}));
  EXPECT_EQ(v.size(), 4);
  EXPECT_EQ(v[2], kEndOfLine);
  EXPECT_EQ(v.find("c"), 3);
  EXPECT_EQ(v.find("d"), -1);
}

TEST(Text, CharactersAreCodePoints) {
  Vocabulary v;
  const Text text = parsed("né\n€e\U0001F600", TextUnit::character, v);
  EXPECT_EQ(text.tokens, (Numbers{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(v[1], "é");
  EXPECT_EQ(v[2], "\n");
  EXPECT_EQ(v[5], "\U0001F600");
}

TEST(Text, WordsThatAVocabularyLacks) {
  Vocabulary v;
  parsed("a b <unk>\n", TextUnit::word, v);
  const Text text = parsed("a x b y\n", TextUnit::word, v, false);
  EXPECT_EQ(text.tokens, (Numbers{0, 2, 1, 2, 3}));
  EXPECT_EQ(text.unknown, 2);
  EXPECT_EQ(v.size(), 4);
  Vocabulary none;
  parsed("a b\n", TextUnit::word, none);
  EXPECT_EQ(error_of([&] { parsed("a\nb xy\n", TextUnit::word, none, false); }),
            "[text] here: line 2, byte 6: 'xy' is none of the 3 words of the vocabulary, which has "
            "no <unk> either");
}

TEST(Text, AVocabularyReadsBack) {
  Vocabulary v;
  parsed("a\\n b\\\n", TextUnit::character, v);
  const Vocabulary back = Vocabulary::parse(v.text());
  EXPECT_EQ(back, v);
  EXPECT_EQ(back.find("\n"), v.find("\n"));
  EXPECT_EQ(error_of([] { Vocabulary::parse("a\nb\na\n"); }), "a vocabulary has 'a' twice");
  EXPECT_EQ(error_of([] { Vocabulary::parse("a\n\nb\n"); }), "token 1 of a vocabulary is empty");
  EXPECT_EQ(error_of([] { Vocabulary::parse(""); }), "a vocabulary has no token");
}

TEST(Text, BadFilesAreNamedWithThePlace) {
  const TempDir dir;
  Vocabulary v;
  const auto message = [&](const std::string& bytes, TextUnit unit = TextUnit::word) {
    const auto path = dir.write("t.txt", bytes);
    const std::string text = error_of([&] { read_text(path, unit, v, true); });
    const std::string where = "[text] " + path.string() + ": ";
    EXPECT_TRUE(text.starts_with(where)) << text;
    return text.substr(std::min(where.size(), text.size()));
  };
  EXPECT_EQ(message(""), "there is no word in it");
  EXPECT_EQ(message(" \n\n"), "there is no word in it");
  EXPECT_EQ(message("", TextUnit::character), "there is no character in it");
  const char* bad = "which begins no UTF-8 character here";
  EXPECT_EQ(message("ab\nc \xff d"), cat("line 2, byte 5: found byte 0xFF, ", bad));
  for (const TextUnit unit : {TextUnit::word, TextUnit::character}) {
    // A lone continuation, a cut sequence, an overlong one, a surrogate, one beyond the last point.
    EXPECT_EQ(message("\x80", unit), cat("line 1, byte 0: found byte 0x80, ", bad));
    EXPECT_EQ(message("a\xe2\x82", unit), cat("line 1, byte 1: found byte 0xE2, ", bad));
    EXPECT_EQ(message("\xe2\x28\xa1", unit), cat("line 1, byte 0: found byte 0xE2, ", bad));
    EXPECT_EQ(message("\xc0\xaf", unit), cat("line 1, byte 0: found byte 0xC0, ", bad));
    EXPECT_EQ(message("\xe0\x80\xaf", unit), cat("line 1, byte 0: found byte 0xE0, ", bad));
    EXPECT_EQ(message("\xed\xa0\x80", unit), cat("line 1, byte 0: found byte 0xED, ", bad));
    EXPECT_EQ(message("\xf4\x90\x80\x80", unit), cat("line 1, byte 0: found byte 0xF4, ", bad));
  }
  EXPECT_EQ(message("a " + std::string(1001, 'x')),
            "line 1, byte 1002: a word of more than 1000 bytes");
}

TEST(Text, FilesAreFoundAndMissed) {
  const TempDir dir;
  const std::string missing = error_of([&] { read_texts(dir.path(), TextUnit::word); });
  EXPECT_NE(missing.find("expected ptb.train.txt (the Penn Treebank) or train.txt (any text)"),
            std::string::npos)
      << missing;
  dir.write("train.txt", "a b <unk>\n");
  dir.write("valid.txt", "b a\n");
  dir.write("test.txt", "a c\n");
  const TextSplit split = read_texts(dir.path(), TextUnit::word);
  EXPECT_EQ(split.vocabulary->size(), 4);
  EXPECT_EQ(split.validation.tokens, (Numbers{1, 0, 3}));
  EXPECT_EQ(split.test.tokens, (Numbers{0, 2, 3}));
  EXPECT_EQ(split.test.unknown, 1);
  // The Treebank's names promise the Treebank's words.
  dir.write("ptb/ptb.train.txt", "a b\n");
  dir.write("ptb.test.txt", "a b\n");
  const std::string other =
      error_of([&] { read_texts(dir.path(), TextUnit::word, split.vocabulary); });
  EXPECT_NE(other.find("has 3 words with ends of lines, the Penn Treebank's has 82430"),
            std::string::npos)
      << other;
}

// A model's words keep their numbers in any text, and nothing but the test text must be there.
TEST(Text, IsReadUnderAKnownVocabulary) {
  const TempDir dir;
  const auto known = std::make_shared<Vocabulary>(Vocabulary::parse("<unk>\nb\na\n<eos>\n"));
  dir.write("test.txt", "a b c\n");
  const TextSplit alone = read_texts(dir.path(), TextUnit::word, known);
  EXPECT_EQ(alone.test.tokens, (Numbers{2, 1, 0, 3}));
  EXPECT_EQ(alone.test.unknown, 1);
  EXPECT_TRUE(alone.train.tokens.empty());
  EXPECT_TRUE(*alone.vocabulary == *known);
  dir.write("train.txt", "c a\n");
  const TextSplit both = read_texts(dir.path(), TextUnit::word, known);
  EXPECT_EQ(both.train.tokens, (Numbers{0, 2, 3}));
  EXPECT_EQ(both.train.unknown, 1);
  EXPECT_EQ(both.vocabulary->size(), 4);
  const auto narrow = std::make_shared<Vocabulary>(Vocabulary::parse("a\n<eos>\n"));
  EXPECT_NE(error_of([&] {
              read_texts(dir.path(), TextUnit::word, narrow);
            }).find("'c' is none of the 2 words of the vocabulary, which has no <unk> either"),
            std::string::npos);
}

std::shared_ptr<const Text> counting(std::int64_t n) {
  auto out = std::make_shared<Text>();
  out->name = "counting";
  out->tokens.resize(static_cast<std::size_t>(n));
  std::iota(out->tokens.begin(), out->tokens.end(), 0);
  return out;
}

// Every token but the first of the text is asked for once, after the one before it; batch i goes on
// where batch i - 1 ended.
TEST(TextStreams, CutATextIntoStreamsAndWindows) {
  const TextStreams data(counting(30), 100, 3, 4);  // 9 predictions a stream: windows of 4, 4 and 1
  EXPECT_EQ(data.lanes(), 3);
  EXPECT_EQ(data.samples(), 9);
  std::map<std::int32_t, int> asked;
  Numbers last(3, -1);
  for (std::int64_t piece = 0; piece < 3; ++piece) {
    TensorMap batch = batch_of(data.fields(), 3);
    data.fill(2, 3 * piece, batch);  // the same in every epoch
    const auto x = batch.at("x").span<std::int32_t>(), y = batch.at("y").span<std::int32_t>();
    const auto weight = batch.at("weight").span<float>();
    for (std::size_t i = 0; i < 12; ++i) {
      const bool inside = piece < 2 || i % 4 == 0;
      EXPECT_EQ(weight[i], inside ? 1 : 0);
      if (!inside) {
        EXPECT_EQ(x[i], 0);
        EXPECT_EQ(y[i], 0);
        continue;
      }
      EXPECT_EQ(y[i], x[i] + 1);
      if (last[i / 4] >= 0) EXPECT_EQ(x[i], last[i / 4]);
      last[i / 4] = y[i];
      ++asked[y[i]];
    }
    EXPECT_EQ(batch.at(kIndexField).to_vector<std::int32_t>()[1], 3 * piece + 1);
  }
  EXPECT_EQ(asked.size(), 27u);
  for (const auto& [token, times] : asked) EXPECT_EQ(times, 1) << token;
  EXPECT_TRUE(asked.contains(1) && asked.contains(27));
}

// Behind an end of a line the first word is asked for, too.
TEST(TextStreams, BeginAfterAnEndOfALine) {
  Vocabulary v;
  const auto text = std::make_shared<Text>(parsed("a b\nc\n", TextUnit::word, v));
  const TextStreams data(text, v.size(), 1, 5);
  TensorMap batch = batch_of(data.fields(), 1);
  data.fill(0, 0, batch);
  EXPECT_EQ(batch.at("x").to_vector<std::int32_t>(), (Numbers{2, 0, 1, 2, 3}));
  EXPECT_EQ(batch.at("y").to_vector<std::int32_t>(), (Numbers{0, 1, 2, 3, 2}));
}

TEST(TextStreams, NeedAWindow) {
  EXPECT_EQ(
      error_of([] { TextStreams(counting(40), 100, 2, 20); }),
      "counting: 40 tokens are too few for 2 streams of a window of 20; expected at least 41, "
      "or a shorter window");
  EXPECT_EQ(TextStreams(counting(41), 100, 2, 20).samples(), 2);
  EXPECT_NE(error_of([] { TextStreams(counting(40), 100, 0, 20); }).find("got 0 and 20"),
            std::string::npos);
}

TEST(SyntheticText, BracketsCloseAndVerbsAgree) {
  const TextSplit split = synthetic_text({.train = 20000, .validation = 1000, .test = 1000});
  const Vocabulary& v = *split.vocabulary;
  EXPECT_LT(v.size(), 120);
  EXPECT_GE(std::ssize(split.train.tokens), 20000);
  EXPECT_EQ(split.train.unknown + split.test.unknown, 0);
  const std::string open = "([{<", close = ")]}>";
  std::string stack;
  std::vector<bool> plural;  // of nouns whose verb has not come
  std::int64_t far = 0;
  bool noun = false;
  for (const std::int32_t token : split.train.tokens) {
    const std::string& word = v[token];
    if (noun) {
      noun = false;
    } else if (word == "a" || word == "some") {
      plural.push_back(word == "some");
      noun = true;
    } else if (open.find(word) != std::string::npos) {
      stack += word;
    } else if (close.find(word) != std::string::npos) {
      ASSERT_FALSE(stack.empty());
      EXPECT_EQ(open.find(stack.back()), close.find(word));
      stack.pop_back();
      ++far;
    } else if (word == kEndOfLine) {
      EXPECT_TRUE(stack.empty() && plural.empty());
    } else if (!plural.empty() && plural.size() == stack.size() + 1) {
      EXPECT_EQ(word.ends_with("t"), !plural.back());
      plural.pop_back();
    }
  }
  EXPECT_GT(far, 800);
  // The same sentences, whatever the size; other ones by another seed.
  const TextSplit small = synthetic_text({.train = 100, .validation = 50, .test = 50});
  for (std::size_t i = 0; i < small.train.tokens.size(); ++i)
    EXPECT_EQ((*small.vocabulary)[small.train.tokens[i]], v[split.train.tokens[i]]);
  EXPECT_NE(
      synthetic_text({.train = 100, .validation = 50, .test = 50, .seed = 2}).vocabulary->text(),
      small.vocabulary->text());
}

}  // namespace
}  // namespace tessera::datasets
