// SPDX-License-Identifier: Apache-2.0
// Defines `prepare_process`, which makes failures of the surroundings errors of the program.
#pragma once

#include <csignal>
#include <string_view>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

namespace qwq::detail {

/// A mapped file that becomes shorter ends the program here, with one line.
extern "C" inline void report_shorter_file(int) {
  constexpr std::string_view message =
      "checkpoint: expected files that do not change while they are read, found one that became shorter\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, message.data(), message.size());
  ::_exit(1);
}

/// To be called before any file is opened and any thread is started.
/// Standard streams that the caller closed become /dev/null: else the next file would get their descriptors, and what
/// is printed would go into it. A reader that goes away and a file that gets too large become errors of the write.
inline void prepare_process() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);  // takes the lowest
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGBUS, report_shorter_file);
}

}  // namespace qwq::detail
