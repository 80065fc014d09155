// SPDX-License-Identifier: Apache-2.0
// Defines `prepare_process`, which turns failures of the environment into errors of the program.
#pragma once

#include <csignal>
#include <string_view>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

namespace qwq::detail {

/// Handler of SIGBUS: a mapped file was truncated. Ends the program with a one-line message.
extern "C" inline void report_shorter_file(int) {
  constexpr std::string_view message =
      "checkpoint: expected files that do not change while they are read, found one that became shorter\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, message.data(), message.size());
  ::_exit(1);
}

/// Must be called before any file is opened or any thread is started. Opens closed standard streams as /dev/null:
/// otherwise the next file would get their descriptors, and output would be written to it. A closed pipe and a file
/// that exceeds the size limit become write errors.
inline void prepare_process() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);  // lowest free: fd
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGBUS, report_shorter_file);
}

}  // namespace qwq::detail
