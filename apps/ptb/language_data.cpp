#include "apps/ptb/language_data.h"

#include "apps/cli/cli.h"
#include "apps/images/image_data.h"
#include "core/files/sha256.h"
#include "datasets/synthetic_text.h"
#include "nn/language_model.h"

namespace tessera::apps {

namespace {

constexpr const char *kUnit = "unit", *kSteps = "window", *kStreams = "streams";
constexpr std::int64_t kUsualStreams = 20, kMost = 10'000;

std::int64_t number(const DataRequest& request, const char* choice, std::int64_t usual) {
  const auto found = request.choices.find(choice);
  if (found == request.choices.end() || found->second.empty()) return usual;
  return integer_list(found->second, cat("--", choice), 1, kMost).front();
}

// As the network reads them.
std::int64_t steps_of(const DataRequest& request) {
  const Field* x = find_field(request.inputs, "x");
  check(x != nullptr && x->sample.rank() == 1, "a language model reads 'x' s32[steps], this one ",
        listed(request.inputs));
  return number(request, kSteps, x->sample[0].value());
}

datasets::TextUnit unit_of(const DataRequest& request) {
  const auto found = request.choices.find(kUnit);
  return datasets::parse_text_unit(found == request.choices.end() ? "word" : found->second);
}

}  // namespace

std::vector<Choice> text_choices() {
  return {{kUnit, "what a text consists of", {"word", "character"}},
          {kSteps, cat("tokens of a window (default ", kUsualSteps, ")"), {}},
          {kStreams,
           cat("streams that the training text is cut into, as many as --batch (default ",
               kUsualStreams, ")"),
           {}}};
}

datasets::TextSplit texts(const DataRequest& request) {
  const auto synthetic = built_in(request.from);
  if (!synthetic) return datasets::read_texts(request.from, unit_of(request));
  datasets::SyntheticText options;
  options.unit = unit_of(request);
  if (synthetic->train > 0) options.train = synthetic->train;
  if (synthetic->test > 0) options.validation = options.test = synthetic->test;
  return datasets::synthetic_text(options);
}

Config text_settings(const datasets::TextSplit& split) {
  const std::string tokens = split.vocabulary->text();
  return {{kUnit, std::string(datasets::name(split.unit))},
          {"vocabulary_sha256", sha256_hex(std::as_bytes(std::span(tokens)))}};
}

Data language_data(const DataRequest& request) {
  check(!request.raw, "a language model has no preprocessing to carry");
  datasets::TextSplit split = texts(request);
  const std::int64_t tokens = split.vocabulary->size(), steps = steps_of(request);
  const auto streams = [&](datasets::Text text, std::int64_t count) {
    return std::make_shared<const datasets::TextStreams>(
        std::make_shared<const datasets::Text>(std::move(text)), tokens, count, steps);
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
  out.settings = text_settings(split);
  out.settings["data"] = split.name;
  out.settings[kSteps] = std::to_string(steps);
  std::vector<std::string> unknown;
  for (const datasets::Text* text : {&split.validation, &split.test}) {
    if (text->unknown > 0)
      unknown.push_back(cat(text->name, ": ", text->unknown,
                            " words are not in the training text "
                            "and count as ",
                            datasets::kUnknown));
  }
  out.problems = [unknown] { return unknown; };
  out.tests = {{"test", streams(std::move(split.test), 1)}};
  out.validation = {{"validation", streams(std::move(split.validation), 1)}};
  const std::int64_t count = number(request, kStreams, kUsualStreams);
  out.train = [train = streams(std::move(split.train), count)](
                  std::uint64_t, const std::string& augment) -> std::shared_ptr<const BatchSource> {
    check(augment == "none", "--augment ", augment, ": texts have no augmentations");
    return train;
  };
  return out;
}

}  // namespace tessera::apps
