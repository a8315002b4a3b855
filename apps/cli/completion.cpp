#include "apps/cli/completion.h"

#include <algorithm>
#include <iostream>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "core/error.h"
#include "core/words.h"

namespace tessera::apps {

namespace {

// "f32|bf16": words that stand for themselves, or "" for the name of a kind of value.
std::string words_of(const std::string& value) {
  const bool words = std::ranges::all_of(value, [](char c) {
    return c == '|' || c == '-' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  });
  if (!words || value.find('|') == value.npos) return "";
  std::string out = value;
  std::ranges::replace(out, '|', ' ');
  return out;
}

// One line of each `case`: the flags of a verb, and what their values may be.
struct Cases {
  std::string flags, values;

  void add(const std::string& verb, const std::function<void()>& run) {
    std::string names;
    for (const OfferedFlag& flag : offered_flags(run)) {
      names += cat(names.empty() ? "" : " ", "--", flag.name);
      const std::string words = words_of(flag.value);
      const std::string place = cat("    '", verb, " --", flag.name, "') ");
      if (!words.empty()) {
        values += cat(place, "words='", words, "' ;;\n");
      } else if (flag.value == "DIR") {
        values += cat(place, "kind=-d ;;\n");
      } else if (!flag.value.empty()) {
        values += cat(place, "kind=-f ;;\n");
      }
    }
    flags += cat("    '", verb, "') flags='", names, "' ;;\n");
  }
};

}  // namespace

std::string bash_completion(const std::string& program, const std::vector<CompletedVerb>& verbs,
                            const std::function<void()>& without) {
  Cases cases;
  std::string names;
  for (const CompletedVerb& verb : verbs) {
    names += cat(verb.name, " ");
    cases.add(verb.name, verb.run);
  }
  if (without) cases.add("", without);
  names += "--help --version";
  return cat("# Completion of ", program, " for bash, made by '", program, " completion bash'.\n_",
             program, "() {\n",
             "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n",
             "  local verb=${COMP_WORDS[1]} flags='' words='' kind=''\n", "  COMPREPLY=()\n",
             // A program that runs without a verb takes flags where one would stand.
             "  [[ $COMP_CWORD -eq 1 || $verb == -* ]] && verb=''\n", "  case \"$verb\" in\n",
             cases.flags, "  esac\n", "  case \"$verb $before\" in\n", cases.values, "  esac\n",
             "  if [[ -n $words ]]; then\n",
             "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n",
             "  elif [[ -n $kind ]]; then\n",
             "    local IFS=$'\\n'\n    COMPREPLY=($(compgen $kind -- \"$word\"))\n",
             "  elif [[ $COMP_CWORD -eq 1 ]]; then\n", "    COMPREPLY=($(compgen -W \"", names,
             " $flags\" -- \"$word\"))\n", "  elif [[ $word == -* ]]; then\n",
             "    COMPREPLY=($(compgen -W \"$flags\" -- \"$word\"))\n", "  else\n",
             "    local IFS=$'\\n'\n    COMPREPLY=($(compgen -f -- \"$word\"))\n",
             "  fi\n}\ncomplete -o filenames -F _", program, " ", program, "\n");
}

int completion_command(const std::string& program, const std::vector<CompletedVerb>& verbs,
                       const std::vector<std::string>& args, const std::function<void()>& without) {
  FlagList options("options");
  const Usage usage{
      cat(program, " completion bash"),
      cat("What bash completes verbs and flags by: the Debian package installs it, or 'source' it. "
          "zsh reads it after 'autoload -U bashcompinit; bashcompinit'."),
      1,
      1,
      "the name of a shell: bash",
      {cat(program, " completion bash")}};
  const auto shells = parse_flags(args, usage, options);
  if (!shells) return kExitDone;
  const std::vector<std::string> known = {"bash"};
  require_known("shell", shells->front(), known);
  std::cout << bash_completion(program, verbs, without);
  return kExitDone;
}

}  // namespace tessera::apps
