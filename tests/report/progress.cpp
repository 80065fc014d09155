// SPDX-License-Identifier: Apache-2.0
// Progress into a log, onto a (pseudo) terminal, and silenced.
#include <qwq/report/progress.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

struct close_file {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using file = std::unique_ptr<std::FILE, close_file>;

template <class F>
std::string logged(F&& f) {
  const file out(std::tmpfile());
  f(out.get());
  std::rewind(out.get());
  std::array<char, 4096> buffer{};
  return {buffer.data(), std::fread(buffer.data(), 1, buffer.size(), out.get())};
}

std::vector<std::string> split(const std::string& s, char at) {
  std::vector<std::string> parts{""};
  for (const char c : s)
    if (c == at)
      parts.emplace_back();
    else
      parts.back() += c;
  return parts;
}

/// What `f` prints on a terminal of `columns`. The terminal turns each \n into \r\n.
template <class F>
std::string on_terminal(int columns, F&& f) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(master >= 0);
  REQUIRE(grantpt(master) == 0);
  REQUIRE(unlockpt(master) == 0);
  const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  REQUIRE(slave >= 0);
  winsize window{};
  window.ws_col = static_cast<unsigned short>(columns);
  REQUIRE(ioctl(master, TIOCSWINSZ, &window) == 0);
  const file out(fdopen(slave, "w"));
  std::string seen;
  std::thread reader([&] {  // at the same time: a terminal buffers 4 KiB and then blocks its writer
    std::array<char, 512> buffer{};
    while (seen.find("<end>") == std::string::npos) {
      const auto n = read(master, buffer.data(), buffer.size());
      if (n <= 0) break;
      seen.append(buffer.data(), static_cast<std::size_t>(n));
    }
  });
  f(out.get());
  std::fputs("<end>", out.get());
  std::fflush(out.get());
  reader.join();
  close(master);
  return seen.substr(0, seen.find("<end>"));
}

}  // namespace

TEST_CASE("a log gets one line at every tenth") {
  const auto lines = split(logged([](std::FILE* out) {
                             qwq::progress p("calibrate", 1000, false, out);
                             for (int i = 0; i < 1000; ++i) p.tick();
                           }),
                           '\n');
  REQUIRE(lines.size() == 11);
  for (std::size_t i = 0; i < 10; ++i) {
    const std::string percent = std::to_string(10 * (i + 1));
    CAPTURE(lines[i]);
    CHECK(lines[i].starts_with("calibrate " + std::string(3 - percent.size(), ' ') + percent + "% " +
                               std::to_string(100 * (i + 1)) + "/1000  "));
    CHECK((lines[i].find("/s  left ") != std::string::npos) == (i < 9));
  }
  CHECK(lines[9].find("/s  took ") != std::string::npos);
  CHECK(lines[10].empty());
}

TEST_CASE("a log of few or uneven steps") {
  const auto few = split(logged([](std::FILE* out) {
                           qwq::progress p("layers", 3, false, out);
                           for (int i = 0; i < 3; ++i) p.tick();
                         }),
                         '\n');
  REQUIRE(few.size() == 4);
  CHECK(few[0].starts_with("layers  33% 1/3  "));
  CHECK(few[1].starts_with("layers  66% 2/3  "));
  CHECK(few[2].starts_with("layers 100% 3/3  "));

  const auto leaps = split(logged([](std::FILE* out) {
                             qwq::progress p("bytes", 100, false, out);
                             p.tick(5);   // below a tenth: nothing
                             p.tick(50);  // 55 %
                             p.tick(4);   // 59 %: nothing
                             p.tick(60);  // past the end
                             p.tick(1);   // and on: nothing
                           }),
                           '\n');
  REQUIRE(leaps.size() == 3);
  CHECK(leaps[0].starts_with("bytes  55% 55/100  "));
  CHECK(leaps[1].starts_with("bytes 100% 119/100  "));
}

TEST_CASE("quiet, nothing to do, or never ticked: nothing is printed") {
  CHECK(logged([](std::FILE* out) {
          qwq::progress p("x", 10, true, out);
          p.tick(10);
        }).empty());
  CHECK(logged([](std::FILE* out) {
          qwq::progress p("x", 0, false, out);
          p.tick();
        }).empty());
  CHECK(logged([](std::FILE* out) { qwq::progress p("x", 10, false, out); }).empty());
  CHECK(on_terminal(80, [](std::FILE* out) {
          qwq::progress p("x", 10, true, out);
          p.tick(10);
        }).empty());
}

TEST_CASE("a terminal gets one line, redrawn, that fits") {
  for (const int columns : {0, 30, 60, 80, 300}) {
    CAPTURE(columns);
    const std::string seen = on_terminal(columns, [](std::FILE* out) {
      qwq::progress p("calibrate", 40, false, out);
      for (int i = 0; i < 40; ++i) p.tick();
    });
    REQUIRE(seen.ends_with("\r\n"));
    CHECK(std::count(seen.begin(), seen.end(), '\n') == 1);
    const auto drawings = split(seen.substr(0, seen.size() - 2), '\r');
    REQUIRE(drawings.size() >= 3);  // "", 0 %, ..., 100 %
    CHECK(drawings[0].empty());
    CHECK(drawings[1].starts_with("calibrate   0%"));
    CHECK(drawings.back().starts_with("calibrate 100%"));
    const auto limit = static_cast<std::size_t>(columns == 0 ? 80 : std::min(columns, 100));
    for (const auto& drawing : drawings) CHECK(drawing.size() < limit);
    CHECK((drawings.back().find('#') != std::string::npos) == (columns != 30));
    CHECK(drawings.back().find("#.") == std::string::npos);
  }
}

TEST_CASE("a million ticks are drawn about a hundred times, or ten times a second, also after a stall") {
  const auto start = std::chrono::steady_clock::now();
  const std::string seen = on_terminal(80, [](std::FILE* out) {
    qwq::progress p("tokens", 1'000'000, false, out);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    for (int i = 0; i < 1'000'000; ++i) p.tick();
  });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  CHECK(static_cast<double>(std::count(seen.begin(), seen.end(), '\r')) <= 105 + 10 * seconds);
}

TEST_CASE("an unfinished bar ends its line") {
  const std::string seen = on_terminal(80, [](std::FILE* out) {
    qwq::progress p("export", 10, false, out);
    p.tick(4);
  });
  CHECK(seen.find("\rexport  40% [") != std::string::npos);
  CHECK(seen.find("####") != std::string::npos);
  CHECK(seen.ends_with("\r\n"));
}
