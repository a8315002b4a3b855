#include "apps/ptb/language_data.h"

#include "apps/cli/cli.h"
#include "apps/images/image_data.h"
#include "core/files/sha256.h"
#include "datasets/synthetic_text.h"
#include "nn/language_model.h"

namespace tessera::apps {

namespace {

constexpr const char *kUnit = "unit", *kSteps = "window";
constexpr const char* kVocabulary = "vocabulary";  // attached to models
constexpr std::int64_t kMostSteps = 10'000;

// As the network reads them.
std::int64_t steps_of(const DataRequest& request) {
  const Field* x = find_field(request.inputs, "x");
  check(x != nullptr && x->sample.rank() == 1, "a language model reads 'x' s32[steps], this one ",
        listed(request.inputs));
  const auto found = request.choices.find(kSteps);
  if (found == request.choices.end() || found->second.empty()) return x->sample[0].value();
  return integer_list(found->second, cat("--", kSteps), 1, kMostSteps).front();
}

datasets::TextUnit unit_of(const DataRequest& request) {
  const auto found = request.choices.find(kUnit);
  return datasets::parse_text_unit(found == request.choices.end() ? "word" : found->second);
}

}  // namespace

std::vector<Choice> text_choices() {
  return {{kUnit, "what a text consists of", {"word", "character"}},
          {kSteps, cat("tokens of a window (default ", kUsualSteps, ")"), {}}};
}

std::shared_ptr<const datasets::Vocabulary> attached_vocabulary(
    const std::map<std::string, std::string>& attached) {
  const auto found = attached.find(kVocabulary);
  if (found == attached.end()) return nullptr;
  return naming("the model", [&] {
    return std::make_shared<datasets::Vocabulary>(datasets::Vocabulary::parse(found->second));
  });
}

datasets::TextSplit texts(const DataRequest& request) {
  const auto known = attached_vocabulary(request.attached);
  const auto synthetic = built_in(request.from);
  if (!synthetic) return datasets::read_texts(request.from, unit_of(request), known);
  datasets::SyntheticText options;
  options.unit = unit_of(request);
  if (synthetic->train > 0) options.train = synthetic->train;
  if (synthetic->test > 0) options.validation = options.test = synthetic->test;
  return datasets::synthetic_text(options, known);
}

Config text_settings(datasets::TextUnit unit, const datasets::Vocabulary& vocabulary) {
  const std::string tokens = vocabulary.text();
  return {{kUnit, std::string(datasets::name(unit))},
          {"vocabulary_sha256", sha256_hex(std::as_bytes(std::span(tokens)))}};
}

std::string unknown_words(const std::string& where, std::int64_t count) {
  return cat(where, ": ", count, count == 1 ? " word is" : " words are",
             " not in the vocabulary and read as ", datasets::kUnknown);
}

Data language_data(const DataRequest& request) {
  check(!request.raw, "a language model has no preprocessing to carry");
  datasets::TextSplit split = texts(request);
  const std::int64_t tokens = split.vocabulary->size(), steps = steps_of(request);
  const auto shared = [](datasets::Text text) {
    return std::make_shared<const datasets::Text>(std::move(text));
  };
  const auto streams = [=](const std::shared_ptr<const datasets::Text>& text, std::int64_t count) {
    return std::make_shared<const datasets::TextStreams>(text, tokens, count, steps);
  };
  Data out;
  const std::string unit(datasets::name(split.unit));
  out.text = cat(split.name == "ptb"         ? "the Penn Treebank in " + request.from
                 : split.name == "synthetic" ? "the built-in synthetic text"
                                             : "the text in " + request.from,
                 " (", split.train.tokens.size(), " training, ", split.validation.tokens.size(),
                 " validation and ", split.test.tokens.size(), " test ", unit, "s, ", tokens,
                 " different)");
  out.task = std::make_shared<nn::LanguageModeling>(steps, tokens);
  out.settings = text_settings(split.unit, *split.vocabulary);
  out.settings["data"] = split.name;
  out.settings[kSteps] = std::to_string(steps);
  out.may_differ = {kSteps};
  // Who brings a vocabulary can read any text; the built-in one, which is the default, is for its
  // own models.
  if (request.attached.contains(kVocabulary) && !built_in(request.from))
    out.may_differ.insert("data");
  out.attached = {{kVocabulary, split.vocabulary->text()}};
  std::vector<std::string> unknown;
  for (const datasets::Text* text : {&split.train, &split.validation, &split.test}) {
    if (text->unknown > 0) unknown.push_back(unknown_words(text->name, text->unknown));
  }
  out.problems = [unknown] { return unknown; };
  out.tests = {{"test", streams(shared(std::move(split.test)), 1)}};
  if (!split.validation.tokens.empty())
    out.validation = {{"validation", streams(shared(std::move(split.validation)), 1)}};
  if (split.train.tokens.empty()) return out;
  out.train = [train = shared(std::move(split.train)), streams](
                  std::uint64_t, const std::string& augment,
                  std::int64_t batch) -> std::shared_ptr<const BatchSource> {
    check(augment == "none", "--augment ", augment, ": texts have no augmentations");
    return streams(train, batch);
  };
  return out;
}

}  // namespace tessera::apps
