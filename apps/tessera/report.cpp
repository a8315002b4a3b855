// tessera report: the results of a folder as one HTML file.
#include <iostream>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "core/text.h"
#include "report/html/report.h"

namespace tessera::apps {

int report_command(const std::vector<std::string>& args) {
  std::string out = "report.html";
  FlagList options("options");
  options.add_options()("out", text_flag(out, "FILE"), "write to this file");
  const auto folders = parse_flags(
      args,
      {"tessera report DIR [options]",
       "Tables, plots, curves and weight histograms of the results that compress and compare left "
       "in a folder, as one HTML file that needs nothing else. A result that cannot be read is "
       "left "
       "out and named; the exit status is then 2.",
       1,
       1,
       "one folder",
       {"tessera report out/mnist --out report.html"}},
      options);
  if (!folders) return kExitDone;
  const Report report = load_report(folders->front());
  write_report(report, out);
  std::size_t runs = 0;
  for (const NetworkReport& network : report.networks) {
    runs += network.runs.size() + network.references.size();
  }
  const auto counted = [](std::size_t n, const char* what) {
    return cat(n, " ", what, n == 1 ? "" : "s");
  };
  std::cout << out << ": " << counted(runs, "run") << " of "
            << counted(report.networks.size(), "network") << "\n";
  for (const std::string& problem : report.problems) {
    std::cout << "PROBLEM " << tessera::escaped(problem) << "\n";
  }
  return report.damaged > 0 ? kExitBadInput : kExitDone;
}

}  // namespace tessera::apps
