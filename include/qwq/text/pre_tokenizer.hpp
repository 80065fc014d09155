// SPDX-License-Identifier: Apache-2.0
// Defines `nfc` and `splitter`, the steps before byte-pair encoding: NFC and splitting by a regular expression.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <unicode/unorm2.h>
#include <unicode/uregex.h>

#include "qwq/core/error.hpp"
#include "qwq/core/quote.hpp"
#include "qwq/core/utf8.hpp"

namespace qwq::detail {

inline void check_icu(UErrorCode status, const std::string& where, const char* expected) {
  if (U_FAILURE(status)) throw error(where + ": expected " + expected + ", found " + u_errorName(status));
}

/// `text` (well-formed, less than 2^29 units) in Normalization Form C.
inline std::u16string nfc(std::u16string text) {
  UErrorCode status = U_ZERO_ERROR;
  const UNormalizer2* normalizer = unorm2_getNFCInstance(&status);
  check_icu(status, "NFC", "ICU's data");
  const auto size = static_cast<std::int32_t>(text.size());
  if (unorm2_spanQuickCheckYes(normalizer, text.data(), size, &status) == size) return text;
  std::u16string out(text.size() * 3, u'\0');  // no character expands more than threefold
  const std::int32_t length =
      unorm2_normalize(normalizer, text.data(), size, out.data(), static_cast<std::int32_t>(out.size()), &status);
  check_icu(status, "NFC", "text to normalize");
  out.resize(static_cast<std::size_t>(length));
  return out;
}

/// Splits text by a regular expression: the matches and the stretches between them are the pieces ("Isolated").
/// Tokenizer files are written for Oniguruma; ICU agrees with it on the constructs of Qwen's expressions: \s is
/// White_Space, \p{...} are general categories, (?i:...) uses Unicode case folding, so that U+017F matches s.
class splitter {
 public:
  splitter() = default;
  /// `where` names the expression in error messages.
  splitter(std::string_view expression, std::string where) : where_(std::move(where)) {
    check(expression);
    const std::u16string pattern = to_utf16(expression);
    UErrorCode status = U_ZERO_ERROR;
    regex_.reset(uregex_open(pattern.data(), static_cast<std::int32_t>(pattern.size()), 0, nullptr, &status));
    check_icu(status, where_, "a regular expression");
  }

  /// Calls `each(std::u16string_view)` for the pieces of `text` (less than 2^31 units), in order.
  template <class Each>
  void split(std::u16string_view text, Each&& each) const {
    UErrorCode status = U_ZERO_ERROR;
    const regex_ptr regex{uregex_clone(regex_.get(), &status)};  // a matcher has state, and this function is const
    const auto size = static_cast<std::int32_t>(text.size());
    uregex_setStackLimit(regex.get(), stack_limit, &status);
    uregex_setTimeLimit(regex.get(), time_limit + size / 16, &status);  // for all matches together
    uregex_setText(regex.get(), text.data(), size, &status);
    std::size_t done = 0;
    while (uregex_findNext(regex.get(), &status)) {
      const auto begin = static_cast<std::size_t>(uregex_start(regex.get(), 0, &status));
      const auto end = static_cast<std::size_t>(uregex_end(regex.get(), 0, &status));
      if (begin > done) each(text.substr(done, begin - done));
      if (end > begin) each(text.substr(begin, end - begin));
      done = end;
    }
    check_icu(status, where_, "an end of the search");
    if (done < text.size()) each(text.substr(done));
  }

 private:
  struct close_regex {
    void operator()(URegularExpression* regex) const { uregex_close(regex); }
  };
  using regex_ptr = std::unique_ptr<URegularExpression, close_regex>;

  /// Rejects expressions for which an untrusted file could cause long run times: compile time grows with the length,
  /// and one step of the matcher can compare the whole text for a back reference, whereas the limit counts steps.
  void check(std::string_view expression) const {
    if (expression.size() > longest_expression)
      throw error(where_ + ": expected a regular expression of at most " + std::to_string(longest_expression) +
                  " bytes, found " + std::to_string(expression.size()));
    for (std::size_t at = 0; (at = expression.find('\\', at)) != expression.npos && at + 1 < expression.size(); at += 2)
      if (const char next = expression[at + 1]; (next >= '1' && next <= '9') || next == 'k')
        throw error(where_ + ": expected a regular expression without back references, found " +
                    quote(expression.substr(at, 2)));
  }

  /// Maximum length in bytes. The expressions of Qwen's tokenizers have at most 150.
  static constexpr std::size_t longest_expression = 1'000;

  /// Stack limit in bytes. ICU's default of 8,000,000 fails at a run of 200,000 blanks.
  static constexpr std::int32_t stack_limit = 1 << 29;
  /// Limit in ICU's units of 10,000 matcher steps: endless backtracking ends with an error.
  static constexpr std::int32_t time_limit = 1'000;

  regex_ptr regex_;
  std::string where_;
};

}  // namespace qwq::detail
