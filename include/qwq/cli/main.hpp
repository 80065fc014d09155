// SPDX-License-Identifier: Apache-2.0
// Defines `exporter_main`, which reads the command line and runs the part for the chosen scheme and target.
#pragma once

#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "qwq/cli/arguments.hpp"
#include "qwq/cli/exporter.hpp"
#include "qwq/cli/ids.hpp"
#include "qwq/cli/process.hpp"
#include "qwq/cli/signal_guard.hpp"
#include "qwq/cli/usage_error.hpp"
#include "qwq/text/tokenizer.hpp"

namespace qwq {

/// Returns the exit status: 0 success, 1 invalid input (one line on standard error), 2 usage error. The first part is
/// the default.
inline int exporter_main(const exporter_model& model, int argc, char** argv, std::span<const exporter_part> parts) {
  detail::prepare_process();
  try {
    std::vector<scheme_and_target> pairs;
    for (const exporter_part& p : parts) pairs.push_back({std::string(p.scheme), std::string(p.target)});
    exporter_arguments a;
    if (const auto status = parse_arguments(argc, argv, pairs, a)) return *status;
    if (a.command == "tokens") {
      const tokenizer t = tokenizer::open(a.checkpoint);
      std::cout << (a.ids.empty() ? to_text(t.encode(a.text)) : t.decode(parse_ids(a.ids))) << '\n';
    } else {
      for (const exporter_part& p : parts)
        if (p.scheme == a.scheme && p.target == a.target) detail::exporter(model, p, a).run_command();
    }
    if (std::fflush(stdout) != 0 || std::ferror(stdout)) throw error(detail::no_standard_output);
    return 0;
  } catch (const interrupted& problem) {
    std::cerr << problem.what() << '\n';
    std::signal(problem.signal(), SIG_DFL);  // so that the caller sees the signal that ended the program
    return std::raise(problem.signal());
  } catch (const usage_error& problem) {
    std::cerr << problem.what() << '\n';
    return 2;
  } catch (const std::bad_alloc&) {
    std::fputs("out of memory\n", stderr);
    return 1;
  } catch (const std::exception& problem) {
    std::cerr << detail::one_line(problem.what()) << '\n';
    return 1;
  }
}

}  // namespace qwq
