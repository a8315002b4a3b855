#include "report/html/run_curves.h"

#include <algorithm>
#include <array>
#include <limits>

#include "core/files/atomic_file.h"
#include "core/files/json_io.h"

namespace tessera::experiment {

namespace {

constexpr std::int64_t kMaxBytes = 1 << 30;

// What names an event's place or its run rather than measures something.
constexpr std::array kNotMeasured = {"event", "time",   "seconds",  "run",        "seed",
                                     "phase", "method", "codebook", "group_rows", "sparse",
                                     "epoch", "epochs", "step"};

// Values by x, of which the latest counts.
using ByEpoch = std::map<double, double>;

struct Gathered {
  ByEpoch loss, rate;
  std::map<std::string, ByEpoch> measured;
  std::map<std::string, std::map<std::string, std::map<std::string, ByEpoch>>> events;

  template <class Fn>
  void each(Fn&& fn) {
    fn(loss);
    fn(rate);
    for (auto& [metric, points] : measured) fn(points);
    for (auto& [event, quantities] : events) {
      for (auto& [quantity, of] : quantities) {
        for (auto& [name, points] : of) fn(points);
      }
    }
  }
  double end() {
    double out = 0;
    each([&](const ByEpoch& points) {
      if (!points.empty()) out = std::max(out, points.rbegin()->first);
    });
    return out;
  }
  void drop_after(double x) {
    each([&](ByEpoch& points) { points.erase(points.upper_bound(x), points.end()); });
  }
};

Points points_of(const ByEpoch& values) {
  Points out;
  for (const auto& [x, y] : values) {
    out.x.push_back(x);
    out.y.push_back(y);
  }
  return out;
}

class LogReader {
 public:
  void line(const Json& object) {
    const auto text = [&](const char* key) {
      const auto found = object.find(key);
      return found != object.end() && found->is_string() ? found->get<std::string>() : "";
    };
    const std::string event = text("event"), phase = text("phase");
    double epoch = 0;
    number(object, "epoch", epoch);
    identify(object, text("method"), text("codebook"), phase, epoch);
    if (event == "begin") return begin(phase, epoch);
    if (event == "result" || event == "reference" || event == "problem" || event.empty()) return;
    const double x = start_ + epoch;
    if (event == "epoch") {
      take(object, "loss", gathered_.loss[x]);
      take(object, "lr", gathered_.rate[x]);
      for (const auto& [key, value] : object.items()) {
        const bool measured = key.starts_with("test_") || key.starts_with("validation_");
        if (measured && value.is_number()) gathered_.measured[key][x] = value.get<double>();
      }
      return;
    }
    for (const auto& [key, value] : object.items()) {
      if (!value.is_number()) continue;
      if (std::find(kNotMeasured.begin(), kNotMeasured.end(), key) != kNotMeasured.end()) continue;
      const std::size_t dot = key.rfind('.');
      const std::string quantity = dot == key.npos ? key : key.substr(dot + 1);
      const std::string of = dot == key.npos ? "" : key.substr(0, dot);
      gathered_.events[event][quantity][of][x] = value.get<double>();
    }
  }

  RunCurves curves() const {
    RunCurves out;
    out.run = run_;
    out.loss = points_of(gathered_.loss);
    out.rate = points_of(gathered_.rate);
    for (const auto& [metric, values] : gathered_.measured)
      out.measured[metric] = points_of(values);
    for (const auto& [event, quantities] : gathered_.events) {
      for (const auto& [quantity, of] : quantities) {
        for (const auto& [name, points] : of) {
          out.events[event][quantity][name] = points_of(points);
        }
      }
    }
    return out;
  }

 private:
  static bool number(const Json& object, const char* key, double& out) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_number()) return false;
    out = found->get<double>();
    return true;
  }
  static void take(const Json& object, const char* key, double& out) {
    if (!number(object, key, out)) out = std::numeric_limits<double>::quiet_NaN();
  }
  void identify(const Json& object, const std::string& method, const std::string& codebook,
                const std::string& phase, double epoch) {
    const auto integer = [&](const char* key, std::int64_t& out) {
      const auto found = object.find(key);
      if (found != object.end() && found->is_number_integer()) out = found->get<std::int64_t>();
    };
    if (!method.empty()) run_.method = method;
    if (!codebook.empty()) run_.codebook = codebook;
    integer("group_rows", run_.group_rows);
    integer("seed", run_.seed);
    number(object, "sparse", run_.sparse);
    if (phase.empty()) return;  // before any
    if (phase != run_.phase) run_.epochs = 0;
    run_.phase = phase;
    run_.epoch = epoch;
    number(object, "epochs", run_.epochs);
  }
  void begin(const std::string& phase, double epoch) {
    if (phase_.empty() || phase == phase_) {
      gathered_.drop_after(start_ + epoch);
    } else {
      start_ = gathered_.end();
    }
    phase_ = phase;
  }

  Gathered gathered_;
  LoggedRun run_;
  std::string phase_;
  double start_ = 0;  // of the phase
};

}  // namespace

const Points* RunCurves::find(const std::string& event, const std::string& quantity,
                              const std::string& of) const {
  const auto e = events.find(event);
  if (e == events.end()) return nullptr;
  const auto q = e->second.find(quantity);
  if (q == e->second.end()) return nullptr;
  const auto found = q->second.find(of);
  return found == q->second.end() ? nullptr : &found->second;
}

RunCurves parse_run_log(const std::string& text, const std::string& file) {
  LogReader reader;
  int unreadable = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    if (line.empty()) continue;
    try {
      const Json object = parse_json(line, file);
      check(object.is_object(), file, ": a line is no object");
      reader.line(object);
    } catch (const Error&) {
      ++unreadable;
    }
  }
  RunCurves out = reader.curves();
  out.unreadable_lines = unreadable;
  return out;
}

RunCurves read_run_log(const std::filesystem::path& file) {
  if (!file_exists(file)) return {};
  return parse_run_log(read_file(file, kMaxBytes), file.string());
}

}  // namespace tessera::experiment
