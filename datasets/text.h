// Texts as sequences of tokens, words or characters, and the streams that batches are cut from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "datasets/indexed_source.h"

namespace tessera::datasets {

enum class TextUnit { word, character };
// "word" or "character"; throws Error on anything else.
TextUnit parse_text_unit(std::string_view text);
std::string_view name(TextUnit unit);

// Behind the last word of a line, and in place of a word that a vocabulary lacks.
inline constexpr std::string_view kEndOfLine = "<eos>", kUnknown = "<unk>";

// Tokens by number, in the order in which they were first seen.
class Vocabulary {
 public:
  static constexpr std::int64_t kMost = 1 << 20;

  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }
  std::int32_t find(std::string_view token) const;  // -1: there is none
  std::int32_t add(std::string_view token);         // its number, new or not
  const std::string& operator[](std::int64_t i) const {
    return tokens_[static_cast<std::size_t>(i)];
  }

  // One token a line, \n for the end of a line and \\ for \.
  std::string text() const;
  // Throws Error for a token that is empty or comes twice, and where there are none or too many.
  static Vocabulary parse(std::string_view text);
  friend bool operator==(const Vocabulary& a, const Vocabulary& b) {
    return a.tokens_ == b.tokens_;
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view token) const {
      return std::hash<std::string_view>()(token);
    }
  };
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> numbers_;
};

struct Text {
  std::string name;  // "ptb/train"; used in messages
  std::vector<std::int32_t> tokens;
  std::int32_t before = -1;  // what stands before the first: an end of a line; -1: there is none
  std::int64_t unknown = 0;  // of them, words that are <unk> because the vocabulary lacks them
};

// Reads a UTF-8 text, plain, gzip or xz. Words are what spaces and ends of lines separate, each
// line with words ending in <eos>; as characters, code points and ends of lines. With `grow` the
// vocabulary takes tokens that it lacks, otherwise such words are its <unk>. Throws Error, naming
// the file and the place, when it is empty, not UTF-8, has a word of more than 1000 bytes, more
// different tokens than a vocabulary takes, or a token that the vocabulary lacks without an <unk>.
Text read_text(const std::filesystem::path& path, TextUnit unit, Vocabulary& vocabulary, bool grow);
// The same of a text in memory.
Text parse_text(std::string_view text, std::string name, TextUnit unit, Vocabulary& vocabulary,
                bool grow);

struct TextSplit {
  std::string name;
  TextUnit unit = TextUnit::word;
  std::shared_ptr<const Vocabulary> vocabulary;  // of the training text, or what a model knows
  Text train, validation, test;
};

// The Penn Treebank as Mikolov prepared it, ptb.train.txt, ptb.valid.txt and ptb.test.txt, or any
// text in train.txt, valid.txt and test.txt, in `dir` or `dir`/ptb. Under a `known` vocabulary,
// which a model brings, other words are its <unk>, and only the test text must be there: the others
// may be empty. Throws Error where a file is missing, or a file of the Treebank has not its numbers
// of words.
TextSplit read_texts(const std::filesystem::path& dir, TextUnit unit,
                     std::shared_ptr<const Vocabulary> known = nullptr);

// A text cut into equal streams that run side by side, and those into windows: "x" s32 [steps] the
// tokens, "y" s32 [steps] the next ones, "weight" f32 [steps] 1 where there is one and 0 behind the
// end of a stream. Every token of the text is asked for once, except up to streams - 1 at
// its end, and the first where no end of a line is known to stand before it.
class TextStreams final : public IndexedSource {
 public:
  // Throws Error where a stream is shorter than a window.
  TextStreams(std::shared_ptr<const Text> text, std::int64_t tokens, std::int64_t streams,
              std::int64_t steps);

  std::string name() const override { return text_->name; }
  std::int64_t samples() const override { return streams_ * windows_; }
  std::int64_t lanes() const override { return streams_; }
  std::vector<Field> own_fields() const override;
  void write(std::int64_t epoch, std::span<const std::int32_t> rows,
             TensorMap& batch) const override;

 private:
  std::shared_ptr<const Text> text_;
  std::int64_t tokens_, streams_, steps_;
  std::int64_t length_, windows_;  // of a stream: predicted tokens, windows
  std::int64_t shift_;             // 1: the first input stands before the text
};

}  // namespace tessera::datasets
