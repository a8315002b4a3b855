// The built-in stand-in for the Penn Treebank: sentences of a small grammar in which a verb depends
// on a noun, and a closing bracket on an opening one, many words earlier. Who remembers only a few
// words cannot know either.
#pragma once

#include <cstdint>

#include "datasets/text.h"

namespace tessera::datasets {

struct SyntheticText {
  std::int64_t train = 100000, validation = 10000, test = 10000;  // words, at least
  std::uint64_t seed = 1;
  TextUnit unit = TextUnit::word;
};

// Whole sentences, one a line. Sentence i of a part is a function of (seed, part, i) alone.
// `known`: as of read_texts. Throws Error when a size is below 1 or above 100 million.
TextSplit synthetic_text(const SyntheticText& options = {},
                         const std::shared_ptr<const Vocabulary>& known = nullptr);

}  // namespace tessera::datasets
