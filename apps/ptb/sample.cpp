#include "apps/ptb/sample.h"

#include <algorithm>
#include <chrono>

#include "apps/cli/cli.h"
#include "apps/ptb/language_data.h"
#include "apps/verbs/verbs.h"
#include "core/files/model.h"
#include "core/interrupt.h"
#include "core/rng.h"
#include "core/text.h"
#include "experiment/machine.h"
#include "nn/draw.h"
#include "nn/language_model.h"
#include "ops/op_list.h"

namespace tessera::apps {

namespace {

// The text so far: words with a space between them, lines ending where the text's do.
class Printed {
 public:
  explicit Printed(datasets::TextUnit unit) : words_(unit == datasets::TextUnit::word) {}
  void add(const std::string& token) {
    if (!words_) {
      text_ += token;
    } else if (token == datasets::kEndOfLine) {
      text_ += "\n";
    } else {
      if (!text_.empty() && text_.back() != '\n') text_ += ' ';
      text_ += token;
    }
  }
  const std::string& text() const { return text_; }

 private:
  bool words_;
  std::string text_;
};

}  // namespace

int sample_verb(const Benchmark& benchmark, const std::vector<std::string>& args) {
  DataFlags data(benchmark);
  RunFlags run;
  std::int64_t count = 100, seed = 1;
  double temperature = 1;
  std::string start;
  FlagList options("Flags");
  data.add_flags(options);
  auto add = options.add_options();
  add("tokens", flag(count), "how many to make");
  add("temperature", flag(temperature), "of the softmax: 1 as it is, 0 always the likeliest");
  add("start", text_flag(start, "TEXT"), "what the model reads first");
  add("seed", flag(seed), "of the draws");
  run.add_reading_flags(options);
  const std::string line = benchmark.name + " sample MODEL.json ";
  const auto files = parse_flags(args,
                                 {line + "[flags]",
                                  "Makes up a text, one token after another. --data is for models "
                                  "without a vocabulary: the text that trained them.",
                                  1,
                                  1,
                                  "one model file",
                                  {line + "--start 'the company'"}},
                                 options);
  if (!files) return kExitDone;
  check_range("--tokens", static_cast<double>(count), 1, 1e6);
  check_range("--temperature", temperature, 0, 100);
  check_range("--seed", static_cast<double>(seed), 0, 1e9);
  data.validate();
  Session session(run);
  Model model = load(files->front(), ops::standard_ops());
  NetworkFlags network(benchmark);
  network.take(model.settings, files->front());
  data.take(model);
  const DataRequest request = data.request(fields_of(model.graph, files->front()));
  const auto unit = datasets::parse_text_unit(request.choices.at("unit"));
  const auto known = attached_vocabulary(model.attached);
  datasets::Vocabulary vocabulary = known ? *known : *texts(request).vocabulary;
  require_same_settings(files->front(), model.settings, text_settings(unit, vocabulary));
  session.open_outputs();

  // The same network, one step at a time.
  const nn::LanguageModeling step(1, vocabulary.size());
  const Model stepping = network.reading(std::move(model), files->front(), step);
  const Plan plan = compile(stepping);
  RunContext context = plan.context();
  Tensor x(DType::s32, {1, 1});
  context.bind("x", x);
  std::vector<std::int32_t> first = {
      std::max(vocabulary.find(unit == datasets::TextUnit::word ? datasets::kEndOfLine : "\n"), 0)};
  Printed printed(unit);
  if (!start.empty()) {
    datasets::Text given = datasets::parse_text(start, "--start", unit, vocabulary, false);
    if (given.unknown > 0) session.detail() << unknown_words("--start", given.unknown) << "\n";
    // A line that has not ended.
    if (unit == datasets::TextUnit::word) given.tokens.pop_back();
    for (const std::int32_t token : given.tokens) {
      first.push_back(token);
      printed.add(vocabulary[token]);
    }
  }
  Rng rng(static_cast<std::uint64_t>(seed), stable_id("ptb/sample"));
  const auto began = std::chrono::steady_clock::now();
  std::int32_t token = first.front();
  const std::int64_t given = std::ssize(first), steps = given - 1 + count;
  for (std::int64_t i = 0; i < steps; ++i) {
    stop_if_interrupted();
    x.span<std::int32_t>()[0] = i < given ? first[static_cast<std::size_t>(i)] : token;
    context.run();
    if (i + 1 < given) continue;
    token = nn::draw(context.output("logits").span<float>(), rng, temperature);
    check(token >= 0, files->front(), ": the model's logits are not finite");
    printed.add(vocabulary[token]);
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  session.text() << printed.text() << "\n";
  session.detail() << fixed(static_cast<double>(steps) / seconds, 0) << " tokens/s with "
                   << plan.threads() << " threads; measured on " << this_machine().text() << "\n";
  session.json() = {{"verb", "sample"},
                    {"file", files->front()},
                    {"text", printed.text()},
                    {"tokens_per_second", static_cast<double>(steps) / seconds}};
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
