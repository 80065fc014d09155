// SPDX-License-Identifier: Apache-2.0
// What holds for every parser: it returns sound values, or refuses in one line.
#pragma once

#include <cstdlib>
#include <string_view>

#include <qwq/core/error.hpp>

namespace fuzz {

inline void expect(bool holds) {
  if (!holds) std::abort();
}

/// Runs a parser and the checks of its result. Only `qwq::error` may come out.
template <class F>
void parse(F&& f) {
  try {
    f();
  } catch (const qwq::error& e) {
    const std::string_view what = e.what();
    expect(!what.empty() && what.size() < 1000);
    for (const char c : what) expect(c >= 0x20 && c < 0x7f);
  }
}

}  // namespace fuzz
