#include "apps/common/experiment.h"

namespace tessera::apps {

Json Compression::json() const {
  return {{"method", method},
          {"codebook", codebook},
          {"file", file},
          {"kernel", kernel},
          {"seed", seed},
          {"error_before", error_before},
          {"error_dc", error_dc},
          {"error_after", error_after},
          {"loss_after", loss_after},
          {"correct", correct},
          {"samples", samples},
          {"weights_bytes", weights_bytes},
          {"json_bytes", json_bytes},
          {"bits_per_weight", bits_per_weight},
          {"entropy_bits", entropy_bits},
          {"ratio", ratio},
          {"dense_us", dense_us},
          {"packed_us", packed_us},
          {"distance", distance},
          {"seconds", seconds}};
}

Compression Compression::parse(const Json& json, const std::string& file) {
  const JsonAt at(json, file);
  Compression out;
  out.method = at.at("method").text();
  out.codebook = at.at("codebook").text();
  out.file = at.at("file").text();
  out.kernel = at.at("kernel").text();
  out.seed = at.at("seed").integer(0);
  out.error_before = at.at("error_before").number();
  out.error_dc = at.at("error_dc").number();
  out.error_after = at.at("error_after").number();
  out.loss_after = at.at("loss_after").number();
  out.correct = at.at("correct").integer(0);
  out.samples = at.at("samples").integer(0);
  out.weights_bytes = at.at("weights_bytes").integer(0);
  out.json_bytes = at.at("json_bytes").integer(0);
  out.bits_per_weight = at.at("bits_per_weight").number();
  out.entropy_bits = at.at("entropy_bits").number();
  out.ratio = at.at("ratio").number();
  out.dense_us = at.at("dense_us").number();
  out.packed_us = at.at("packed_us").number();
  out.distance = at.at("distance").number();
  out.seconds = at.at("seconds").number();
  return out;
}

}  // namespace tessera::apps
