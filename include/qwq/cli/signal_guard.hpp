// SPDX-License-Identifier: Apache-2.0
// Defines `signal_guard`, which turns SIGINT, SIGTERM and SIGHUP into exceptions while files are written.
#pragma once

#include <array>
#include <csignal>
#include <cstddef>
#include <stdexcept>

#include <signal.h>

namespace qwq {

/// Thrown by `signal_guard::check`; unwinding removes the files that are being written.
class interrupted : public std::runtime_error {
 public:
  /// `what`: a description of what was interrupted.
  interrupted(int signal, const char* what) : std::runtime_error(what), signal_(signal) {}
  int signal() const { return signal_; }  ///< Number of the signal.

 private:
  int signal_;
};

/// During its lifetime, signals that would end the program are recorded, and `check` throws. A second signal ends the
/// program immediately. Signals that the caller ignores stay ignored.
class signal_guard {
 public:
  /// Installs the signal handlers.
  signal_guard() {
    seen() = 0;
    for (std::size_t i = 0; i < signals.size(); ++i) {
      struct sigaction action {};
      action.sa_handler = [](int signal) { seen() = signal; };
      action.sa_flags = static_cast<int>(SA_RESETHAND);
      ::sigaction(signals[i], nullptr, &before_[i]);
      if (before_[i].sa_handler != SIG_IGN) ::sigaction(signals[i], &action, nullptr);
    }
  }
  /// Restores the previous handlers.
  ~signal_guard() {
    for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &before_[i], nullptr);
  }
  signal_guard(const signal_guard&) = delete;
  signal_guard& operator=(const signal_guard&) = delete;

  /// Throws `interrupted` if a signal was received.
  static void check(const char* what) {
    if (const int signal = seen(); signal != 0) throw interrupted(signal, what);
  }

 private:
  static constexpr std::array signals{SIGINT, SIGTERM, SIGHUP};
  static volatile std::sig_atomic_t& seen() {
    static volatile std::sig_atomic_t signal = 0;
    return signal;
  }
  std::array<struct sigaction, signals.size()> before_{};
};

}  // namespace qwq
