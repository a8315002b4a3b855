// tessera inspect: what a model is, what it takes on disk, and how it would run here.
#include <filesystem>
#include <iomanip>
#include <iostream>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "apps/tessera/summary.h"
#include "apps/tessera/write_json.h"
#include "core/files/atomic_file.h"
#include "core/files/find_weights.h"
#include "core/files/graph_json.h"
#include "core/files/json_io.h"
#include "core/graph_text.h"
#include "core/parallel.h"
#include "core/text.h"
#include "ops/load.h"
#include "ops/op_list.h"
#include "quant/pack/harden.h"
#include "report/table.h"

namespace tessera::apps {

namespace {

std::int64_t bytes_of(const quant::TensorReport& t) {
  return t.index_bytes + t.codebook_bytes + t.scale_bytes + t.sparse_bytes + t.dense_bytes;
}

double bits_of(const quant::TensorReport& t) {
  return t.weights ? 8.0 * static_cast<double>(bytes_of(t)) / static_cast<double>(t.weights) : 0;
}

void print_parameters(std::ostream& out, const quant::SizeReport& report) {
  std::size_t width = 9;
  for (const auto& t : report.tensors) width = std::max(width, printable(t.name).size());
  const bool coded = report.entropy_coded();
  const auto row = [&](const auto& name, const auto& shape, const auto& encoding,
                       const auto& elements, const auto& bytes, const auto& bits,
                       const auto& entropy, const auto& file) {
    out << "  " << std::left << std::setw(static_cast<int>(width) + 2) << name << std::setw(16)
        << shape << std::setw(16) << encoding << std::right << std::setw(11) << elements
        << std::setw(12) << bytes << std::setw(14) << bits << std::setw(9) << entropy;
    if (coded) out << std::setw(15) << file;
    out << "\n";
  };
  out << "parameters\n" << std::fixed << std::setprecision(4);
  row("name", "shape", "encoding", "elements", "bytes", "bits/element", "entropy", "bytes in file");
  for (const auto& t : report.tensors) {
    const auto entropy = t.coded() ? fixed(t.entropy_bits, 4) : std::string("-");
    row(printable(t.name), t.shape.text(), t.encoding, t.weights, bytes_of(t), bits_of(t), entropy,
        bytes_of(t) - t.index_bytes + t.file_index_bytes);
  }
  out << "  " << report.bytes() << " bytes in all, " << report.dense_bytes() << " as f32, "
      << std::setprecision(2) << report.ratio() << " times smaller; " << std::setprecision(4)
      << report.bits_per_weight() << " bits a coded weight, " << report.entropy_bits_per_weight()
      << " by entropy\n";
  if (coded) {
    out << "  in the file: indices " << report.file_index_bytes() << " bytes, entropy-coded from "
        << report.index_bytes() << "; " << report.file_bits_per_weight()
        << " bits a coded weight\n";
  }
}

Json parameters_json(const quant::SizeReport& report) {
  Json tensors = Json::array();
  for (const auto& t : report.tensors) {
    tensors.push_back({{"name", t.name},
                       {"shape", t.shape.text()},
                       {"encoding", t.encoding},
                       {"elements", t.weights},
                       {"index_bytes", t.index_bytes},
                       {"file_index_bytes", t.file_index_bytes},
                       {"codebook_bytes", t.codebook_bytes},
                       {"scale_bytes", t.scale_bytes},
                       {"sparse_bytes", t.sparse_bytes},
                       {"sparse_values", t.sparse_values},
                       {"dense_bytes", t.dense_bytes},
                       {"entropy_bits", t.entropy_bits}});
  }
  return {{"tensors", tensors},
          {"bytes", report.bytes()},
          {"dense_bytes", report.dense_bytes()},
          {"bits_per_weight", report.bits_per_weight()},
          {"entropy_bits_per_weight", report.entropy_bits_per_weight()},
          {"entropy_coded", report.entropy_coded()},
          {"index_bytes", report.index_bytes()},
          {"file_index_bytes", report.file_index_bytes()},
          {"file_bits_per_weight", report.file_bits_per_weight()},
          {"ratio", report.ratio()}};
}

void print_plan(std::ostream& out, const Plan& plan, const CompileOptions& options, bool why) {
  out << "plan: batch " << options.batch << ", " << text(active_features()) << ", "
      << (options.threads > 0 ? options.threads : num_threads()) << " threads\n"
      << plan.text();
  if (why) {
    out << "better kernels that were refused\n";
    for (std::size_t s = 0; s < plan.steps().size(); ++s) {
      for (const std::string& refusal : plan.steps()[s].refusals) {
        out << "  " << s << " " << plan.steps()[s].op << ": " << refusal << "\n";
      }
    }
  }
  const PlanMemory& memory = plan.memory();
  out << "memory of the plan, bytes: arena " << memory.arena << ", scratch " << memory.scratch
      << ", packed weights " << memory.persistent << ", parameters as stored " << memory.states
      << "\n";
  if (plan.decoded().empty()) {
    out << "whole-tensor decodes: none\n";
  } else {
    out << "WHOLE-TENSOR DECODES: " << plan.decoded().size() << "\n";
    for (const std::string& line : plan.decoded()) out << "  DECODED " << line << "\n";
  }
}

Json plan_json(const Plan& plan, const CompileOptions& options) {
  Json steps = Json::array();
  for (const StepInfo& step : plan.steps()) {
    steps.push_back({{"op", step.op},
                     {"name", step.name},
                     {"kernel", step.kernel},
                     {"type", step.type},
                     {"note", step.note},
                     {"bytes", step.bytes},
                     {"flops", step.flops},
                     {"once", step.prologue},
                     {"refusals", step.refusals}});
  }
  const PlanMemory& memory = plan.memory();
  return {{"batch", options.batch},
          {"features", text(active_features())},
          {"steps", steps},
          {"memory",
           {{"arena", memory.arena},
            {"scratch", memory.scratch},
            {"persistent", memory.persistent},
            {"states", memory.states}}},
          {"decoded", plan.decoded()}};
}

}  // namespace

int inspect_command(const std::vector<std::string>& args) {
  CompileOptions compile_options;
  std::string json;
  bool why = false, summary_only = false;
  FlagList options("options");
  auto add = options.add_options();
  add("batch", flag(compile_options.batch), "samples at once in the plan");
  add("threads", flag(compile_options.threads), "threads of the plan; 0: as the machine has");
  add("summary", on_flag(summary_only), "only the summary");
  add("why", on_flag(why), "also why better kernels were refused");
  add("packed-only", on_flag(compile_options.packed_only), "decoding a whole tensor is an error");
  add("json", text_flag(json, "FILE"), "write the same as JSON; - is stdout");
  const auto files =
      parse_flags(args,
                  {"tessera inspect FILE.json [options]",
                   "What a model is, what it takes on disk, how it would run here.",
                   1,
                   1,
                   "one model file",
                   {"tessera inspect MODEL.json", "tessera inspect MODEL.json --batch 32 --why"}},
                  options);
  if (!files) return kExitDone;
  check_range("--threads", compile_options.threads, 0, kMaxThreads);
  std::ostream& out = json == "-" ? std::cerr : std::cout;
  const std::filesystem::path path = files->front();
  const GraphDocument document = read_graph_document(path, ops::standard_ops());
  if (!document.weights) {  // of export --format json
    const Plan plan = compile(document.graph, compile_options);
    out << path.string() << ": a graph without weights\ngraph\n" << graph_text(document.graph);
    print_plan(out, plan, compile_options, why);
    if (!json.empty()) {
      const Json all = {{"graph", graph_text(document.graph)},
                        {"plan", plan_json(plan, compile_options)}};
      write_json(json, all);
    }
    return kExitDone;
  }
  const Model model = load(path);
  const Plan plan = model.graph.updates().empty() ? compile(model, compile_options)
                                                  : compile(model.graph, compile_options);
  const quant::SizeReport report =
      quant::size_report(model, coded_planes(path, ops::standard_ops()));

  const auto weights = find_weights(path, document.weights->name);
  const auto json_bytes = InputFile(path).size(), weights_bytes = InputFile(weights).size();
  out << path.string() << ": " << json_bytes << " bytes\n"
      << weights.string() << ": " << weights_bytes << " bytes\n";
  const Summary summary = summarize(model.graph, report, plan, compile_options.batch);
  out << "summary\n" << summary.text(report);
  if (summary_only) {
    if (!json.empty()) write_json(json, {{"summary", summary.json()}});
    return kExitDone;
  }
  out << "settings\n";
  for (const auto& [name, value] : model.settings) {
    out << "  " << printable(name) << " = " << printable(value) << "\n";
  }
  for (const auto& [name, text] : model.attached)
    out << "attached " << printable(name) << ": " << text.size() << " bytes\n";
  out << "graph\n" << graph_text(model.graph);
  print_parameters(out, report);
  print_plan(out, plan, compile_options, why);
  if (!json.empty()) {
    const Json all = {{"file_bytes", json_bytes},
                      {"weights_bytes", weights_bytes},
                      {"summary", summary.json()},
                      {"settings", model.settings},
                      {"graph", graph_text(model.graph)},
                      {"parameters", parameters_json(report)},
                      {"plan", plan_json(plan, compile_options)}};
    write_json(json, all);
  }
  return kExitDone;
}

}  // namespace tessera::apps
