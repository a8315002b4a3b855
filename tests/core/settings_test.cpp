// Settings by name, and choices as tables.
#include "core/settings.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/error_of.h"

namespace tessera {
namespace {

using testing::error_of;

enum class Color { red, green };
const Names<Color>& colors() {
  static const Names<Color> all("color", {{"red", Color::red}, {"green", Color::green}});
  return all;
}

TEST(Names, ParsePrintAndListOneTable) {
  EXPECT_EQ(colors().parse("green"), Color::green);
  EXPECT_EQ(colors().name(Color::red), "red");
  EXPECT_EQ(colors().alternatives(), "red|green");
  EXPECT_EQ(error_of([] { colors().parse("b\nue"); }),
            "color 'b\\x0aue' is unknown; there are red and green");
}

Settings sample() {
  Settings out;
  out.add({Setting::whole("steps", 3, "how many", "steps", 1, 10),
           Setting::number("rate", 0.5, "how fast", "rate", 0, 1),
           Setting::above_zero("mu", 2, "how strong", ""),
           Setting::on_off("reset", true, "whether", "reset"),
           Setting::choice("color", Color::green, "which", "color", colors())});
  return out;
}

TEST(Settings, ReadWhatPeopleWriteAndShowWhatReadsBack) {
  Settings s = sample();
  EXPECT_FALSE(s.given("rate"));
  for (const auto& [name, text] : std::vector<std::pair<const char*, const char*>>{
           {"steps", "7"}, {"rate", "0.1"}, {"reset", "off"}, {"color", "red"}}) {
    s.read(name, text);
    EXPECT_EQ(s.shown(name), text);
    EXPECT_TRUE(s.given(name));
  }
  EXPECT_EQ(s.whole("steps"), 7);
  EXPECT_EQ(s.number("rate"), 0.1);
  EXPECT_FALSE(s.on("reset"));
  EXPECT_EQ(s.text("color"), "red");
  EXPECT_NO_THROW(s.validate());
}

TEST(Settings, RefuseOtherKindsNamesAndRanges) {
  Settings s = sample();
  EXPECT_NE(error_of([&] { s.read("steps", "1.5"); }), "");
  EXPECT_NE(error_of([&] { s.read("reset", "maybe"); }), "");
  EXPECT_NE(error_of([&] { s.set("steps", 1.5); }).find("of another kind"), std::string::npos);
  EXPECT_NE(error_of([&] { s.set("stepz", 1); }).find("did you mean 'steps'"), std::string::npos);
  s.set("rate", 1);  // a whole number is a number
  EXPECT_EQ(s.number("rate"), 1.0);
  const auto refused = [](const char* name, const Setting::Value& value) {
    Settings out = sample();
    out.set(name, value);
    return error_of([&] { out.validate(); });
  };
  EXPECT_EQ(refused("steps", 0), "--steps must be 1 to 10, got 0");
  EXPECT_EQ(refused("rate", 1.5), "--rate must be 0 to 1, got 1.5");
  EXPECT_EQ(refused("mu", 0.0), "--mu must be positive and at most 1e+09, got 0");
  EXPECT_NE(refused("mu", std::numeric_limits<double>::quiet_NaN()), "");
  EXPECT_EQ(refused("color", "blue"), "--color: color 'blue' is unknown; there are red and green");
}

TEST(Settings, OneNameIsOneSetting) {
  Settings s = sample();
  s.set("steps", 5);
  s.add(Setting::whole("steps", 3, "how many", "steps", 1, 10));  // shared, and stays 5
  EXPECT_EQ(s.whole("steps"), 5);
  EXPECT_EQ(s.rows().size(), 5u);
  EXPECT_EQ(error_of([&] { s.add(Setting::whole("steps", 4, "how many", "steps", 1, 10)); }),
            "two settings are called 'steps'");
}

}  // namespace
}  // namespace tessera
