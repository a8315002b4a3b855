// ptb: LSTM language models on the Penn Treebank or any text, trained, compressed, and run from
// their codebooks.
#include <charconv>

#include "apps/ptb/language_data.h"
#include "apps/ptb/sample.h"
#include "models/lstm.h"
#include "nn/language_model.h"

namespace tessera::apps {

namespace {

double probability(const Config& choices, const char* name, double usual) {
  const std::string& text = choices.at(name);
  if (text.empty()) return usual;
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  check(error == std::errc() && stop == end && value >= 0 && value < 1, "--", name,
        " must be a number of at least 0 and below 1, got '", text, "'");
  return value;
}

constexpr const char *kNorm = "norm", *kTied = "tied", *kMasks = "dropout-masks";
constexpr const char *kDropout = "dropout", *kRecurrent = "recurrent-dropout";

std::vector<Choice> network_choices() {
  return {
      {kNorm, "what keeps the products of the LSTM's weights in size", {"none", "layer", "weight"}},
      {kTied, "whether the softmax reads the embedding's table", {"no", "yes"}},
      {kDropout, "share of elements zeroed before and behind layers (default: the network's)", {}},
      {kMasks, "one for each step, or one for all steps of a window", {"step", "window"}},
      {kRecurrent, "share of states zeroed before recurrent products (default 0)", {}}};
}

Network network(const std::string& name, const nn::Task& task, const Config& choices) {
  const std::vector<Field> targets = task.targets();
  const Field* next = find_field(targets, "y");
  check(next != nullptr && next->below > 0, "language models predict tokens; the task is ",
        task.name());
  models::LstmSize size = models::lstm_size(name).size;
  models::LstmChoices made;
  made.norm = nn::parse_recurrent_norm(choices.at(kNorm));
  made.tied = choices.at(kTied) == "yes";
  made.same_dropout = choices.at(kMasks) == "window";
  made.recurrent_dropout = probability(choices, kRecurrent, 0);
  size.dropout = probability(choices, kDropout, size.dropout);
  Config settings = {{"network", name}};
  for (const Choice& choice : network_choices()) {
    const std::string& value = choices.at(choice.name);
    const std::string usual = choice.values.empty() ? "" : choice.values[0];
    if (value != usual) settings[choice.name] = value;
  }
  return {std::make_shared<models::LstmLanguageModel>(next->below, size, made),
          std::move(settings)};
}

// Rates are for the mean over tokens: those of publications, which divide the sum by the batch
// alone, times the 20 or 35 steps of a window.
Recipes recipes(const std::string& name) {
  Recipes out;
  TrainRecipe& train = out.train;
  train.batch = 20;
  train.lr = 20;
  train.optimizer.momentum = 0;
  train.optimizer.nesterov = false;
  train.optimizer.clip_norm = 0.25;
  train.epochs = 40;
  train.lr_final = 0.005;
  if (name == "lstm200x2" || name == "lstm100") {
    train.epochs = 13;
    // Behind epochs 4 to 12; as shares, so that other numbers of epochs have a schedule as well.
    train.lr_steps = {
        .list = "0.30769,0.38461,0.46153,0.53846,0.61538,0.6923,0.76923,0.84615,0.92307",
        .factor = 0.5};
  } else if (name == "lstm1500x2") {
    train.lr = 35;
    train.optimizer.clip_norm = 10.0 / 35;
    train.epochs = 55;
  }
  CompressRecipe& compress = out.compress;
  compress.batch = 20;
  compress.optimizer = train.optimizer;
  compress.methods.set({{"lc-steps", 12},
                        {"lc-epochs", 1},
                        {"first-epochs", 1},
                        {"lr", 10},
                        {"train-epochs", 6},
                        {"train-lr", 10},
                        // A memory would be 2 bytes a token and word of the vocabulary; in few
                        // epochs the network of the epoch before knows less than the first one.
                        {"distill", "reference"}});
  return out;
}

// Sized for two minutes on two cores.
Story story() {
  Story out;
  out.about =
      "trains a reference on the\nbuilt-in text, compresses it to 1 and 2 bits a weight by DC, iDC "
      "and LC, saves, loads in a\nfresh process, and prints what came out";
  out.network = "lstm100";
  out.recipes = recipes(out.network);
  return out;
}

Benchmark ptb() {
  Benchmark out;
  out.name = "ptb";
  out.about = "LSTM language models on the Penn Treebank";
  out.data_help = kDataHelp;
  out.calibration_help = "not offered: texts without a split into parts";
  for (const models::NamedLstm& size : models::lstm_sizes()) out.networks.push_back(size.name);
  out.network_choices = network_choices();
  out.data_choices = text_choices();
  out.task = [](const std::string&, const Config&) {
    return std::make_shared<nn::LanguageModeling>(kUsualSteps, 10000);
  };
  out.network = network;
  out.data = language_data;
  out.recipes = recipes;
  // The names and the order of gates (f, g, i, o) of K. Saitoh's "Deep Learning from Scratch 2".
  out.import_rules["lstm100"] = {"embed.weight=embedding.weight",
                                 "lstm.Wx=lstm.0.weight_ih:t:parts(2,0,1,3)",
                                 "lstm.Wh=lstm.0.weight_hh:t:parts(2,0,1,3)",
                                 "lstm.b=lstm.0.bias:parts(2,0,1,3)",
                                 "affine.W=softmax.weight:t",
                                 "affine.b=softmax.bias"};
  out.verbs = {{"sample", "text that a model makes up", sample_verb}};
  out.story = story();
  return out;
}

}  // namespace

}  // namespace tessera::apps

int main(int argc, char** argv) {
  return tessera::apps::run_benchmark(argc, argv, tessera::apps::ptb());
}
