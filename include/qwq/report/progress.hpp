// SPDX-License-Identifier: Apache-2.0
// Defines `progress`, the progress of a long loop on stderr: a bar on a terminal, a few plain lines in a log.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <string_view>

#include "qwq/core/fixed_string.hpp"
#include "qwq/report/format.hpp"

namespace qwq {

/// The unit of a `progress`.
enum class progress_unit : std::uint8_t { items, bytes };

/// Counts ticks towards `total`, from one thread. On a terminal one line is redrawn, about ten times a second or a
/// hundred times in all, whichever is more; otherwise a line is printed at every tenth of the total. Prints nothing if
/// `quiet` is set or `total` is 0. Never throws; a tick without output costs an addition and a comparison.
class progress {
 public:
  /// `label` is truncated to 40 characters.
  progress(std::string_view label, std::size_t total, bool quiet = false, std::FILE* out = stderr,
           progress_unit unit = progress_unit::items) noexcept
      : label_(label), total_(total), unit_(unit), out_(out), terminal_(isatty(fileno(out)) == 1) {
    if (quiet || total == 0) return;
    if (terminal_)
      show();
    else
      next_ = tenth(1);
  }
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;
  /// Ends the line of an unfinished bar, so that later output, such as an error message, starts on a new line.
  ~progress() {
    if (line_open_) std::fputc('\n', out_);
  }

  /// Counts `count` more items.
  void tick(std::size_t count = 1) noexcept {
    done_ += count;
    if (done_ >= next_) show();
  }

 private:
  using clock = std::chrono::steady_clock;
  using line = fixed_string<160>;
  static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

  /// The smallest count that is at least `k` tenths of the total.
  std::size_t tenth(std::size_t k) const { return (total_ * k + 9) / 10; }

  void show() noexcept {
    const auto now = clock::now();
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0;
    const bool finished = done_ >= total_;

    line head, tail;  // strings below fit the internal buffer of std::string: nothing is allocated
    head.append(label_).append(" ").append(detail::right(std::to_string(std::min(done_, total_) * 100 / total_), 3));
    head.append("%");
    if (unit_ == progress_unit::bytes) {
      tail.append(" ").append(detail::byte_text(done_)).append("/").append(detail::byte_text(total_));
      if (rate > 0) tail.append("  ").append(detail::byte_text(static_cast<std::uint64_t>(rate))).append("/s");
    } else {
      tail.append(" ").append(static_cast<long long>(done_)).append("/").append(static_cast<long long>(total_));
      if (rate > 0) tail.append("  ").append(detail::fixed(rate, rate < 1 ? 3 : rate < 100 ? 1 : 0)).append("/s");
    }
    if (finished)
      tail.append("  took ").append(detail::time_text(seconds));
    else if (rate > 0)
      tail.append("  left ").append(detail::time_text(static_cast<double>(total_ - done_) / rate));

    if (terminal_) {
      draw(head, tail, finished);
      // A tenth of a second at the pace since the last drawing: the mean rate responds to a stall too slowly.
      const double since = std::max(std::chrono::duration<double>(now - last_time_).count(), 1e-9);
      const double step = static_cast<double>(done_ - last_done_) / since / 10;
      next_ = done_ + static_cast<std::size_t>(std::clamp(step, 1.0, std::max(static_cast<double>(total_) / 100, 1.0)));
      last_time_ = now;
      last_done_ = done_;
    } else {
      std::fputs(head.append(tail).append("\n").view().data(), out_);
      next_ = tenth(done_ * 10 / total_ + 1);
    }
    if (finished) next_ = never;
    std::fflush(out_);
  }

  void draw(line& head, const line& tail, bool finished) noexcept {
    winsize window{};
    const bool known = ioctl(fileno(out_), TIOCGWINSZ, &window) == 0 && window.ws_col > 0;
    const std::size_t width = std::min<std::size_t>(known ? window.ws_col : 80, 100) - 1;  // the last column can wrap
    const std::size_t used = head.size() + tail.size() + 3;
    if (const std::size_t cells = used < width ? std::min<std::size_t>(width - used, 24) : 0; cells >= 5) {
      head.append(" [");
      for (std::size_t i = 0; i < cells; ++i) head.append(i * total_ < std::min(done_, total_) * cells ? "#" : ".");
      head.append("]");
    }
    head.append(tail);
    const std::size_t length = std::min(head.size(), width);
    std::fprintf(out_, "\r%.*s%*s", static_cast<int>(length), head.view().data(),
                 static_cast<int>(drawn_ > length ? drawn_ - length : 0), "");
    drawn_ = length;
    line_open_ = !finished;
    if (finished) std::fputc('\n', out_);
  }

  fixed_string<40> label_;
  std::size_t total_, done_ = 0, next_ = never, last_done_ = 0, drawn_ = 0;
  progress_unit unit_;
  std::FILE* out_;
  bool terminal_, line_open_ = false;
  clock::time_point start_ = clock::now(), last_time_ = start_;
};

}  // namespace qwq
