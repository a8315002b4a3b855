// Texts as the application ptb offers them: the Penn Treebank, any text, or the built-in one.
#pragma once

#include "apps/cli/benchmark.h"
#include "datasets/text.h"

namespace tessera::apps {

inline constexpr std::int64_t kUsualSteps = 35;
inline constexpr const char* kDataHelp =
    "folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt (the Penn Treebank), or train.txt, "
    "valid.txt and test.txt (any text); synthetic[:TRAIN[:TEST]]: the built-in text of so many "
    "words (default: TESSERA_DATA, or the built-in text)";

// --unit, --window.
std::vector<Choice> text_choices();
// The texts that a request names, in the words of the model that brings a vocabulary.
datasets::TextSplit texts(const DataRequest& request);
// What models carry; null for one without (of before they did).
std::shared_ptr<const datasets::Vocabulary> attached_vocabulary(
    const std::map<std::string, std::string>& attached);
// "ptb/test: 3 words are not in the vocabulary and read as <unk>"
std::string unknown_words(const std::string& where, std::int64_t count);
// What a model must have been trained on to know the tokens of a text.
Config text_settings(datasets::TextUnit unit, const datasets::Vocabulary& vocabulary);
// Benchmark::data: training and measuring on streams of these texts.
Data language_data(const DataRequest& request);

}  // namespace tessera::apps
