#include "experiment/compression.h"

namespace tessera::experiment {

namespace {

void put_timing(Json& out, const std::string& what, const Timing& us) {
  out[what + "_us"] = us.least;
  out[what + "_median_us"] = us.median;
  out[what + "_slow_us"] = us.slow;
  out[what + "_unstable"] = us.unstable();
}

// Older results have one figure, a median.
Timing parse_timing(const JsonAt& at, const std::string& what) {
  const double us = at.at(what + "_us").number();
  const auto or_us = [&](const std::string& field) {
    const auto found = at.find(what + field);
    return found ? found->number() : us;
  };
  return {us, or_us("_median_us"), or_us("_slow_us")};
}

Json tensor_json(const TensorSize& t) {
  return {{"name", t.name},
          {"shape", t.shape},
          {"encoding", t.encoding},
          {"weights", t.weights},
          {"index_bytes", t.index_bytes},
          {"codebook_bytes", t.codebook_bytes},
          {"scale_bytes", t.scale_bytes},
          {"sparse_bytes", t.sparse_bytes},
          {"dense_bytes", t.dense_bytes}};
}

TensorSize parse_tensor(const JsonAt& at) {
  const auto bytes = [&](const char* field) { return at.at(field).integer(0); };
  return {at.at("name").text(), at.at("shape").text(), at.at("encoding").text(),
          bytes("weights"),     bytes("index_bytes"),  bytes("codebook_bytes"),
          bytes("scale_bytes"), bytes("sparse_bytes"), bytes("dense_bytes")};
}

}  // namespace

Json Compression::json() const {
  Json out = {{"method", variant.method},
              {"codebook", variant.codebook},
              {"group_rows", variant.group_rows},
              {"sparse", variant.sparse},
              {"file", file},
              {"kernel", kernel},
              {"seed", seed},
              {"epochs", epochs},
              {"samples", after.all.samples},
              {"after", after.json()},
              {"weights_bytes", weights_bytes},
              {"json_bytes", json_bytes},
              {"index_bytes", index_bytes},
              {"codebook_bytes", codebook_bytes},
              {"sparse_bytes", sparse_bytes},
              {"dense_bytes", dense_bytes},
              {"bits_per_weight", bits_per_weight},
              {"entropy_bits", entropy_bits},
              {"effective_bits", effective_bits},
              {"ratio", ratio},
              {"file_index_bytes", file_index_bytes},
              {"file_bits_per_weight", file_bits_per_weight},
              {"decoded", decoded},
              {"distance", distance},
              {"seconds", seconds}};
  const std::string& metric = after.metric().name;
  out[metric + "_before"] = number_or_null(before);
  out[metric + "_dc"] = number_or_null(direct);
  if (before_bn) out[metric + "_before_bn"] = number_or_null(*before_bn);
  for (const nn::Metric& m : after.all.metrics) {
    const Json& value = out["after"].at(metric_key(m, after.on));
    out[m.count ? m.name : m.name + "_after"] = value;
  }
  put_timing(out, "dense", dense_us);
  put_timing(out, "packed", packed_us);
  out["tensors"] = Json::array();
  for (const TensorSize& t : tensors) out["tensors"].push_back(tensor_json(t));
  if (machine) out["environment"] = machine->json();
  return out;
}

Compression Compression::parse(const Json& json, const std::string& file) {
  const JsonAt at(json, file);
  Compression out;
  out.variant = {at.at("method").text(), at.at("codebook").text(), at.at("group_rows").integer(0),
                 0};
  // Of older results: none.
  if (const auto sparse = at.find("sparse")) out.variant.sparse = sparse->number();
  if (const auto bytes = at.find("sparse_bytes")) out.sparse_bytes = bytes->integer(0);
  out.file = at.at("file").text();
  out.kernel = at.at("kernel").text();
  out.seed = at.at("seed").integer(0);
  if (const auto n = at.find("epochs")) out.epochs = n->integer(0);  // older files have none
  out.after = Measured::parse(at.at("after"));
  const std::string& metric = out.after.metric().name;
  const double worst = out.after.metric().worst();
  out.before = at.at(metric + "_before").number_or(worst);
  out.direct = at.at(metric + "_dc").number_or(worst);
  if (const auto bn = at.find(metric + "_before_bn")) out.before_bn = bn->number_or(worst);
  out.weights_bytes = at.at("weights_bytes").integer(0);
  out.json_bytes = at.at("json_bytes").integer(0);
  out.index_bytes = at.at("index_bytes").integer(0);
  out.codebook_bytes = at.at("codebook_bytes").integer(0);
  out.dense_bytes = at.at("dense_bytes").integer(0);
  out.bits_per_weight = at.at("bits_per_weight").number();
  out.entropy_bits = at.at("entropy_bits").number();
  out.effective_bits = at.at("effective_bits").number();
  out.ratio = at.at("ratio").number();
  // Results of before there were coded files lack them.
  const auto file_bytes = at.find("file_index_bytes"), file_bits = at.find("file_bits_per_weight");
  out.file_index_bytes = file_bytes ? file_bytes->integer(0) : out.index_bytes;
  out.file_bits_per_weight = file_bits ? file_bits->number() : out.bits_per_weight;
  out.dense_us = parse_timing(at, "dense");
  out.packed_us = parse_timing(at, "packed");
  if (const auto list = at.find("tensors")) {
    for (const JsonAt& tensor : list->items()) out.tensors.push_back(parse_tensor(tensor));
  }
  if (const auto made = at.find("environment")) out.machine = Machine::parse(*made);
  for (const JsonAt& line : at.at("decoded").items()) out.decoded.push_back(line.text());
  out.distance = at.at("distance").number();
  out.seconds = at.at("seconds").number();
  return out;
}

}  // namespace tessera::experiment
