// SPDX-License-Identifier: Apache-2.0
// Defines `json_place`, a JSON value with its location in the file, for error messages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "qwq/core/error.hpp"
#include "qwq/io/json.hpp"

namespace qwq::detail {

/// Refers to `value`, which must outlive it. `where` begins the messages: "tokenizer.json: model.vocab".
class json_place {
 public:
  /// A value at location `where`.
  json_place(const json& value, std::string where) : value_(&value), where_(std::move(where)) {}
  /// The root of a file.
  static json_place root(const json& value, std::string_view source) { return {value, std::string(source) + ": "}; }

  /// The value.
  const json& operator*() const { return *value_; }
  /// Members of the value.
  const json* operator->() const { return value_; }
  /// The location, for messages.
  const std::string& where() const { return where_; }

  /// A member of an object; null if it is absent.
  json_place operator[](std::string_view key) const {
    static const json absent;
    const auto at = object().find(key);
    return {at == value_->end() ? absent : *at, where_ + (where_.ends_with(": ") ? "" : ".") + printable(key)};
  }
  /// An element of a list.
  json_place operator[](std::size_t i) const { return {list()[i], where_ + '[' + std::to_string(i) + ']'}; }

  /// The value, which must be an object; otherwise throws `error`.
  const json& object() const { return value_->is_object() ? *value_ : refuse("an object"); }
  /// The value, which must be a list; otherwise throws `error`.
  const json& list() const { return value_->is_array() ? *value_ : refuse("a list"); }
  /// The value, which must be a string; otherwise throws `error`.
  const std::string& string() const {
    return (value_->is_string() ? *value_ : refuse("a string")).get_ref<const std::string&>();
  }
  /// The value, which must be a boolean; `absent` if it is null.
  bool flag(bool absent) const {
    if (value_->is_null()) return absent;
    return (value_->is_boolean() ? *value_ : refuse("true or false")).get<bool>();
  }

  /// Throws `error` unless the value is `supported`, the only one that is implemented.
  void must_be(std::string_view supported) const {
    if (string() != supported) refuse(quote(supported));
  }
  /// Throws `error` unless the value, or `absent` if it is null, is `supported`.
  void must_be(bool supported, bool absent) const {
    if (flag(absent) != supported) refuse(supported ? "true" : "false");
  }

  /// Throws `error`: expected `expected`, found the value.
  [[noreturn]] const json& refuse(const std::string& expected) const {
    throw error(where_ + ": expected " + expected + ", found " + describe(*value_));
  }

 private:
  const json* value_;
  std::string where_;
};

}  // namespace qwq::detail
